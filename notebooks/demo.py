"""Train a random forest on scikit-learn's breast cancer data and register it in MLflow.

What `make demo` deploys: `models:/breast-cancer@champion`, with its held-out rows in a file.
"""

import argparse
from pathlib import Path

import mlflow
from mlflow.models import infer_signature
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

NAME = "breast-cancer"


def main() -> None:
    """Train, register as the champion, and write the held-out rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("holdout", type=Path, help="where to write the held-out rows")
    holdout = parser.parse_args().holdout

    features, labels = load_breast_cancer(return_X_y=True, as_frame=True)
    train, test, train_labels, test_labels = train_test_split(features, labels, random_state=0)
    forest = RandomForestClassifier(random_state=0).fit(train, train_labels)

    mlflow.set_experiment("breast-cancer")
    logged = mlflow.sklearn.log_model(
        forest,
        name="forest",
        registered_model_name=NAME,
        signature=infer_signature(train, forest.predict(train)),
        input_example=train.head(3),
        pip_requirements=["scikit-learn", "skops"],
        skops_trusted_types=["sklearn.tree._tree.Tree"],  # no pickle, only arrays
    )
    version = logged.registered_model_version
    mlflow.MlflowClient().set_registered_model_alias(NAME, "champion", version)
    test.assign(label=test_labels).to_parquet(holdout)
    print(f"registered models:/{NAME}@champion, version {version}")


if __name__ == "__main__":
    main()
