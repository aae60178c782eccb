"""Predict with a trained model, from its settings or, without a settings file, from its folder."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser

import torch
from utils import featurize, load_model, predict, read_csv, write_predictions

if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("-f", "--file-path", required=True)
    parser.add_argument("-sc", "--smiles-column", required=True)
    parser.add_argument("-tp", "--train-result-path", default="classification_results")
    parser.add_argument("-ip", "--inference-result-path", default="inference_results")
    args = vars(parser.parse_args())
    os.makedirs(args["inference_result_path"], exist_ok=True)
    settings = args["train_result_path"] + "/configure.json"
    if os.path.exists(settings):
        with open(settings) as file:
            args.update(json.load(file))
    else:
        args.update(model="GCN", gnn_hidden_feats=8, n_tasks=2, in_node_feats=74, in_edge_feats=13)
    smiles, _, tasks = read_csv(args["file_path"], args["smiles_column"])
    model = load_model(args)
    checkpoint = torch.load(args["train_result_path"] + "/model.pth", map_location="cpu")
    model.load_state_dict(checkpoint["model_state_dict"])
    model.eval()
    with torch.no_grad():
        values = predict(args, model, featurize(smiles))
    write_predictions(args["inference_result_path"] + "/prediction.csv", smiles, tasks, values)
