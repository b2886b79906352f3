"""The same model behind MLServer: a custom runtime that calls the predictor as our server does."""

from pathlib import Path

import numpy as np
import torch
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from ctrloom.serving.predictor import Predictor
from ctrloom.serving.server.question import Question


class Runtime(MLModel):
    """Raw rows in, probabilities out."""

    async def load(self) -> bool:
        """Load the bundle at `parameters.uri`."""
        torch.set_num_threads(1)
        self.predictor = Predictor.load(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Score the rows of a request."""
        columns = {each.name: list(each.data) for each in payload.inputs}
        probability = Question("", columns, ()).scored(self.predictor).probability_N
        output = NumpyCodec.encode_output("probability", np.asarray(probability))
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])
