"""What a DGL-LifeSci recipe keeps in its utils: featurising, batching, making the model."""

from __future__ import annotations

import csv

import dgl
import torch


def read_csv(path, smiles_column):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    tasks = [name for name in rows[0] if name != smiles_column]
    labels = torch.tensor([[float(row[t]) for t in tasks] for row in rows])
    return [row[smiles_column] for row in rows], labels, tasks


def featurize(smiles):
    from dgllife.utils import CanonicalAtomFeaturizer, CanonicalBondFeaturizer, SMILESToBigraph

    to_graph = SMILESToBigraph(
        add_self_loop=True,
        node_featurizer=CanonicalAtomFeaturizer(),
        edge_featurizer=CanonicalBondFeaturizer(self_loop=True),
    )
    return [to_graph(each) for each in smiles]


def load_model(config):
    if config["model"] == "GCN":
        from dgllife.model import GCNPredictor

        return GCNPredictor(
            config["in_node_feats"],
            hidden_feats=[config["gnn_hidden_feats"]] * 2,
            n_tasks=config["n_tasks"],
        )
    if config["model"] == "AttentiveFP":
        from dgllife.model import AttentiveFPPredictor

        return AttentiveFPPredictor(
            config["in_node_feats"],
            config["in_edge_feats"],
            graph_feat_size=config["gnn_hidden_feats"],
            n_tasks=config["n_tasks"],
        )
    return ValueError(f"unexpected model {config['model']}")


def predict(config, model, graphs):
    batch = dgl.batch(graphs)
    nodes, edges = batch.ndata.pop("h"), batch.edata.pop("e")
    return model(batch, nodes) if config["model"] == "GCN" else model(batch, nodes, edges)


def write_predictions(path, smiles, tasks, values):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["smiles", *tasks])
        writer.writerows([s, *map(repr, row)] for s, row in zip(smiles, values.tolist()))
