"""MTCNN's three networks in PyTorch: for CUDA, and as the reference for what the processor runs (`mtcnn_networks`)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from faceid.inference.exact_cuda import exact_cuda
from faceid.vision.detection import DetectorError
from faceid.vision.mtcnn_networks import Float32Array, Proposals, Weights


class PNet(nn.Module):
    """Proposal network: for every 12 x 12 window (stride 2) a face logit and four box offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 10, kernel_size=3)
        self.prelu1 = nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(10, 16, kernel_size=3)
        self.prelu2 = nn.PReLU(16)
        self.conv3 = nn.Conv2d(16, 32, kernel_size=3)
        self.prelu3 = nn.PReLU(32)
        self.offsets = nn.Conv2d(32, 4, kernel_size=1)
        self.face = nn.Conv2d(32, 1, kernel_size=1)

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Map [B, 3, H, W] to box offsets [B, 4, h, w] and face logits [B, h, w], where h = ceil(H / 2) - 5."""
        x = self.pool1(self.prelu1(self.conv1(level)))
        x = self.prelu2(self.conv2(x))
        x = self.prelu3(self.conv3(x))
        return self.offsets(x), self.face(x)[:, 0]


class RNet(nn.Module):
    """Refinement network: for a 24 x 24 crop a face logit and four box offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 28, kernel_size=3)
        self.prelu1 = nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(28, 48, kernel_size=3)
        self.prelu2 = nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2)
        self.conv3 = nn.Conv2d(48, 64, kernel_size=2)
        self.prelu3 = nn.PReLU(64)
        self.dense4 = nn.Linear(3 * 3 * 64, 128)
        self.prelu4 = nn.PReLU(128)
        self.offsets = nn.Linear(128, 4)
        self.face = nn.Linear(128, 1)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Map crops [n, 3, 24, 24] to box offsets [n, 4] and face logits [n]."""
        x = self.pool1(self.prelu1(self.conv1(crops)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.prelu3(self.conv3(x))
        x = self.prelu4(self.dense4(flatten_columns_first(x)))
        return self.offsets(x), self.face(x)[:, 0]


class ONet(nn.Module):
    """Output network: for a 48 x 48 crop a face logit, four box offsets and five landmarks (x1..x5, y1..y5)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, kernel_size=3)
        self.prelu1 = nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3)
        self.prelu2 = nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2)
        self.conv3 = nn.Conv2d(64, 64, kernel_size=3)
        self.prelu3 = nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2)
        self.conv4 = nn.Conv2d(64, 128, kernel_size=2)
        self.prelu4 = nn.PReLU(128)
        self.dense5 = nn.Linear(3 * 3 * 128, 256)
        self.prelu5 = nn.PReLU(256)
        self.offsets = nn.Linear(256, 4)
        self.landmarks = nn.Linear(256, 10)
        self.face = nn.Linear(256, 1)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map crops [n, 3, 48, 48] to box offsets [n, 4], landmarks [n, 10] (in units of the box), logits [n]."""
        x = self.pool1(self.prelu1(self.conv1(crops)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.pool3(self.prelu3(self.conv3(x)))
        x = self.prelu4(self.conv4(x))
        x = self.prelu5(self.dense5(flatten_columns_first(x)))
        return self.offsets(x), self.landmarks(x), self.face(x)[:, 0]


def flatten_columns_first(x: Tensor) -> Tensor:
    """Flatten [n, C, H, W] in the order (W, H, C) in which the dense layers were trained."""
    return x.permute(0, 3, 2, 1).flatten(1)


class TorchNetworks:
    """The networks on a device of PyTorch's, as `faceid.vision.mtcnn_networks.Networks`."""

    level_pixels = 2**22
    crops = 1024

    def __init__(self, weights: Weights, device: str) -> None:
        """Load the weights onto `device`; raises DetectorError where there is no such device."""
        self._device = _available(device)
        self._pnet, self._rnet, self._onet = PNet(), RNet(), ONet()
        for name, network in (("pnet", self._pnet), ("rnet", self._rnet), ("onet", self._onet)):
            network.load_state_dict({key: torch.from_numpy(weights[f"{name}.{key}"]) for key in network.state_dict()})
            network.eval().requires_grad_(False)
            network.to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def propose(self, levels: Float32Array, least: float) -> Proposals:
        """See `Networks`."""
        with exact_cuda():
            offsets, logits = self._pnet(torch.from_numpy(levels).to(self._device).permute(0, 3, 1, 2))
            found = torch.nonzero(logits > least, as_tuple=True)
            position, row, column = (axis.cpu().numpy() for axis in found)
            return position, row, column, offsets.movedim(1, 3)[found].cpu().numpy(), logits[found].cpu().numpy()

    def hold(self, photo: Float32Array) -> Tensor:
        """See `Networks`."""
        return torch.from_numpy(photo).to(self._device).permute(2, 0, 1)[None]

    @torch.inference_mode()
    def cut(self, photo: Tensor, points: Float32Array) -> Tensor:
        """See `Networks`."""
        n, side = points.shape[:2]
        grid = torch.from_numpy(points.reshape(1, n * side, side, 2)).to(self._device)
        sampled = functional.grid_sample(photo, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return sampled.view(3, n, side, side).transpose(0, 1)

    def refine(self, crops: Sequence[Tensor]) -> tuple[Float32Array, Float32Array]:
        """See `Networks`."""
        offsets, logits = self._look(self._rnet, 24, crops)
        return offsets, logits

    def locate(self, crops: Sequence[Tensor]) -> tuple[Float32Array, Float32Array, Float32Array]:
        """See `Networks`."""
        offsets, landmarks, logits = self._look(self._onet, 48, crops)
        return offsets, landmarks, logits

    @torch.inference_mode()
    def _look(self, network: nn.Module, side: int, crops: Sequence[Tensor]) -> list[Float32Array]:
        with exact_cuda():
            outputs = network(torch.cat([torch.empty(0, 3, side, side, device=self._device), *crops]))
            return [np.asarray(output.cpu().numpy()) for output in outputs]


def _available(name: str) -> torch.device:
    """Return the device of that name, or say clearly that it is not there."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DetectorError(f"device {name!r} is unknown; use 'cpu' or 'cuda'") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DetectorError(
            f"device {name!r} was asked for, but PyTorch {torch.__version__} finds {torch.cuda.device_count()} "
            "CUDA devices; use 'cpu', or install PyTorch with CUDA and check the driver with `nvidia-smi`"
        )
    return device
