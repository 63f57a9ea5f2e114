"""A calibration keeps, beside its scores, the law that makes a probability of a similarity."""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations.covering import cover

revision = "0003"
down_revision = "0002"

_COVERED = (
    "target, scores, trials, gallery_size, templates_per_identity, fusion, model_digest, precision, data, date,"
    " probability, revision"
)


def upgrade() -> None:
    """Add the column, empty, and cover it by the rows' checksums."""
    op.add_column("calibration", sa.Column("probability", sa.Text))
    cover("calibration", _COVERED)


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")
