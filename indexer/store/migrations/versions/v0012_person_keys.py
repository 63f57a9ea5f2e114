"""A person's name and external id may lie under a key of that person."""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations.covering import cover, refuse_damage

revision = "0012"
down_revision = "0011"

_IDENTITY_BEFORE = "id, name, external_id, created_at, removed_at, merged_into"


def upgrade() -> None:
    """Verify what is there, add the column, and cover it by the checksums and running sums."""
    refuse_damage("identity", _IDENTITY_BEFORE)
    op.add_column("identity", sa.Column("sealed", sa.LargeBinary))
    cover("identity", f"{_IDENTITY_BEFORE}, NULL")
    op.execute("UPDATE tally SET total = (SELECT COALESCE(SUM(checksum), 0) FROM identity) WHERE name = 'identity'")
    cover("tally", "name, rows, total, last_id", key="name")


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")
