"""Writes our own networks as ONNX, for use elsewhere."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path

import numpy as np
import torch

from faceid.models.backends.onnxruntime_backend import open_session, run_with
from faceid.models.backends.torch_backend import load_module
from faceid.models.model_file import HEADER_KEY, Model, ModelError

AGREEMENT = 1e-4  # in cosine: how far float32 backends may differ


def write_onnx(model: Model, path: Path) -> None:
    """Convert the model's network, any number of crops at a time, and check it against PyTorch.

    What a user of the network must know (input, colour, normalisation) goes along as metadata. Raises ModelError when
    the packages for it are missing or the two disagree in the cosine of an embedding by more than AGREEMENT.
    """
    network = load_module(model)
    crops = torch.randn(3, 3, *model.spec.input_size, generator=torch.Generator().manual_seed(0))
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns about torchvision, which nobody needs here
    try:
        with warnings.catch_warnings(action="ignore"):
            program = torch.onnx.export(
                network,
                (crops,),
                dynamo=True,
                verbose=False,
                input_names=["crops"],
                output_names=["embeddings"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except ImportError as error:
        raise ModelError(f"export to ONNX needs {error.name}; pip install 'faceid-engine[onnx]'") from error
    finally:
        logger.setLevel(level)
    assert program is not None
    program.model.metadata_props[HEADER_KEY] = json.dumps(model.spec.to_record(), allow_nan=False)
    program.save(path, external_data=False)
    with torch.inference_mode():
        expected = network(crops).double().numpy()
    exported = run_with(open_session(path.read_bytes(), str(path)), None)(crops.numpy()).astype(np.float64)
    cosine = (expected * exported).sum(1) / (np.linalg.norm(expected, axis=1) * np.linalg.norm(exported, axis=1))
    if not (cosine >= 1 - AGREEMENT).all():
        raise ModelError(
            f"{model.spec.name}: the exported network disagrees with PyTorch (cosine {cosine.min():.6f}); "
            "please report this with the versions that `faceid doctor` prints"
        )
