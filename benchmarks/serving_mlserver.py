"""The same model behind MLServer: a custom runtime that calls the predictor."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from ctrloom.serving.predictor import Predictor


class Runtime(MLModel):
    """Raw rows in, probabilities out."""

    async def load(self) -> bool:
        """Load the bundle at `parameters.uri`."""
        torch.set_num_threads(1)
        self.predictor = Predictor.load(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Score the rows of a request."""
        columns = {each.name: pa.array(list(each.data), pa.string()) for each in payload.inputs}
        rows = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
        output = NumpyCodec.encode_output("probability", np.asarray(self.predictor.predict(rows)))
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])
