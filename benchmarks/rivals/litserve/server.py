"""LitServe, one worker."""

# No annotations from __future__: LitServe reads them, and takes text for a query parameter.
from typing import Any

import forest
import litserve


class Api(litserve.LitAPI):
    """The forest behind LitServe's interface."""

    def setup(self, device: str) -> None:
        """Load the model."""
        del device
        self._forest = forest.Forest()

    def decode_request(self, request: dict[str, Any]) -> Any:
        """Return the request's rows."""
        return forest.rows_of(request)

    def predict(self, rows: Any) -> Any:
        """Predict the rows."""
        return self._forest(rows)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Answer as the V2 protocol does."""
        labels, probabilities = output
        return {
            "outputs": [
                {"name": "label", "data": labels.tolist()},
                {"name": "probabilities", "data": probabilities.ravel().tolist()},
            ]
        }


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=1)
    server.run(
        host=forest.HOST,
        port=forest.http_port(),
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
