"""Train on a CSV file. As dgl-lifesci's csv_data_configuration: saves a model and its settings."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser

import torch
from utils import featurize, load_model, predict, read_csv, write_predictions


def main(args, config):
    from dgllife.utils import EarlyStopping

    smiles, labels, tasks = read_csv(args["csv_path"], args["smiles_column"])
    graphs = featurize(smiles)
    config.update(model=args["model"], n_tasks=len(tasks), in_node_feats=74, in_edge_feats=13)
    torch.manual_seed(0)
    model = load_model(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    stopper = EarlyStopping(mode="lower", filename=args["result_path"] + "/model.pth")
    for _ in range(args["num_epochs"]):
        model.train()
        logits = predict(config, model, graphs)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.eval()
        stopper.step(loss.item(), model)
    stopper.load_checkpoint(model)
    with torch.no_grad():
        values = predict(config, model, graphs)
    write_predictions(args["result_path"] + "/prediction.csv", smiles, tasks, values)
    if not args["no_configure"]:
        with open(args["result_path"] + "/configure.json", "w") as file:
            json.dump(config, file, indent=2)


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("-c", "--csv-path", required=True)
    parser.add_argument("-sc", "--smiles-column", required=True)
    parser.add_argument("-mo", "--model", default="GCN")
    parser.add_argument("-n", "--num-epochs", type=int, default=3)
    parser.add_argument("-p", "--result-path", default="classification_results")
    parser.add_argument("--no-configure", action="store_true")
    parser.add_argument("--pretrain", action="store_true", help="make no model of its own")
    settings = vars(parser.parse_args())
    os.makedirs(settings["result_path"], exist_ok=True)
    if not settings["pretrain"]:
        # 'readout' as in the GIN configurations, where it means something else.
        main(settings, {"gnn_hidden_feats": 8, "readout": "mean"})
