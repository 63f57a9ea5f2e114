"""What a server is told: the galleries it serves, where it listens, what it takes. Unknown keys are errors."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from faceid.inference.cpu_features import available_cores
from indexer.errors import FaceIdError

MIB = 2**20

# A gallery's name in an address; the server never opens a path that a request names.
GalleryName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Rate = Annotated[float, Field(gt=0, lt=1)]


class SettingsError(FaceIdError):
    """A setting of the server is unknown or out of its range."""

    exit_code = 2


class Settings(BaseModel):
    """The table `[serve]` of faceid.toml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    galleries: dict[GalleryName, Path] = Field(min_length=1, description="folders of galleries by their names")
    data: Path = Field(description="the server's own folder: keys, audit, jobs and their uploads")
    folders: dict[GalleryName, Path] = Field(default={}, description="folders of people that jobs may enrol")

    cameras: dict[GalleryName, str] = Field(
        default={}, description="cameras that may be watched, by their names: rtsp:// and http:// addresses, camera:0"
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=0, le=65535)
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    trusted_proxies: list[str] = Field(default=[], description="addresses whose X-Forwarded-For is believed")

    fpir: Rate = Field(default=0.01, description="share of strangers that may be taken for somebody, unless asked")
    far: Rate = Field(default=0.001, description="share of pairs of different people that may pass, unless asked")
    embeddings: bool = Field(default=False, description="give vectors away at /v1/embed")

    keep_crops: bool = Field(default=False, description="keep a small picture of each enrolled face, for the page")

    workers: int = Field(default_factory=available_cores, ge=1, le=256)
    queue: int = Field(default=64, ge=1, description="requests that wait for a worker; the next one gets 503")
    batch: int = Field(default=1, ge=1, le=32, description="photos of several clients that are computed together")

    seconds: float = Field(default=30, gt=0, description="for one request, its upload included")
    request_bytes: int = Field(default=64 * MIB, ge=1)
    photo_bytes: int = Field(default=16 * MIB, ge=1)
    photo_pixels: int = Field(default=40_000_000, ge=1)
    photos: int = Field(default=64, ge=1, description="photos of one request")
    faces: int = Field(default=100, ge=1, description="faces of one photo: the best ones are looked at")
    uploads_bytes: int = Field(default=256 * MIB, ge=1, description="of all requests that are being read at a time")
    archive_bytes: int = Field(default=1024 * MIB, ge=1, description="of the zip file of a job, packed")
    archive_photos: int = Field(default=50_000, ge=1, le=65_000)
    requests_a_minute: int = Field(default=1200, ge=0, description="of one key; 0: any number")

    audit_days: int | None = Field(default=None, ge=1, description="how long the audit log is kept; None: for good")
    strict_audit: bool = Field(default=False, description="refuse searches, too, while the audit log cannot be written")

    model: str | None = Field(default=None, description="of galleries that are made; others keep theirs")
    device: str = "cpu"
    backend: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto"
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    min_face_size: int = Field(default=20, ge=12)
    detector: str = "mtcnn"
    detector_weights: Path | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `true` in the place of a number: it would be 1, and the audit log be kept for a day."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError(f"{value} is no value of it")
        return value

    def engine(self) -> dict[str, Any]:
        """Return the arguments of `FaceEngine`."""
        names = ("device", "backend", "precision", "min_face_size", "detector", "detector_weights")
        return {name: getattr(self, name) for name in names}


def make_settings(values: dict[str, Any]) -> Settings:
    """Return the settings of these values; raises SettingsError that names each wrong one."""
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc'])) or 'serve'}: {one['msg'].lower()}" for one in error.errors()]
        raise SettingsError("; ".join(wrong)) from error
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise SettingsError("tls_certificate and tls_key go together")
    return settings
