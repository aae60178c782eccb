"""GMPool as scikit-learn estimators: ``fit(smiles, y)``, ``predict(smiles)``.

They work in ``cross_val_score``, ``GridSearchCV``, ``Pipeline`` and ``CalibratedClassifierCV``.
Their defaults are small, so that a thousand molecules take a minute; ``dgl-gmpool train`` has the
larger ones, folds, reports and everything else.
"""

from dgl_gmpool.sklearn.classifier import GMPoolClassifier
from dgl_gmpool.sklearn.columns import smiles_of
from dgl_gmpool.sklearn.regressor import GMPoolRegressor

__all__ = ["GMPoolClassifier", "GMPoolRegressor", "smiles_of"]
