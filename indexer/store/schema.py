"""The tables of a gallery's database, the one truth: SQLAlchemy Core metadata that the migrations must reproduce."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

SCHEMA_VERSIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012")
"""Every schema this code can read, oldest first; each is a file in migrations/versions."""
HEAD = SCHEMA_VERSIONS[-1]

APPLICATION_ID = 0x46434944  # "FCID" in SQLite's header: `file gallery.db` and we can tell it is ours.

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


WHOLE = BigInteger().with_variant(Integer, "sqlite")
"""64 bits: what SQLite's INTEGER is anyway, and there alone an id of that type is the place of its row."""


def _id(name: str = "id") -> Column[int]:
    """Return the column of an id that `indexer.store.queries.next_ids` gives: no database counts by itself."""
    return Column(name, WHOLE, primary_key=True, autoincrement=False)


def _checksum() -> Column[int]:
    """CRC-32 of what a row says, as `indexer.store.checksum` computes it: SQLite does not notice a flipped bit."""
    return Column("checksum", WHOLE, nullable=False, server_default=text("0"))


def _octets(column: str) -> tuple[CheckConstraint, CheckConstraint]:
    """Bound the UTF-8 of a text: SQLite has no `octet_length` before 3.43."""
    return (
        CheckConstraint(f"length(CAST({column} AS BLOB)) BETWEEN 1 AND 255", name=column).ddl_if("sqlite"),
        CheckConstraint(f"octet_length({column}) BETWEEN 1 AND 255", name=column).ddl_if("postgresql"),
    )


model = Table(
    "model",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("digest", String(64), nullable=False),  # hex SHA-256 of the model file
    Column("dimension", WHOLE, nullable=False),
    _checksum(),
    UniqueConstraint("digest"),
    CheckConstraint("length(digest) = 64", name="digest"),
    CheckConstraint("dimension BETWEEN 1 AND 65536", name="dimension"),
)


gallery = Table(
    "gallery",
    metadata,
    _id(),
    Column("uuid", String(36), nullable=False),
    Column("created_at", String(20), nullable=False),
    Column("fusion", String(4), nullable=False),
    Column("revision", WHOLE, nullable=False),
    Column("model_id", ForeignKey("model.id"), nullable=False),
    # The revision in which the gallery was bound to its model: no older cache is of this model's vectors.
    Column("model_since", WHOLE, nullable=False),
    # Keys the digests of erased photos: who has such a photo can tell that it was here, nobody can tell whose it was.
    Column("erasure_key", LargeBinary, nullable=False),
    Column("erase_pending", WHOLE, nullable=False),
    _checksum(),
    Column("decided_on", String(10), nullable=False, server_default="similarity"),
    # By which key's rotation, and which salt, the vectors are turned; null where they lie as the model gave them.
    Column("turn_key_id", String(16)),
    Column("turn_salt", LargeBinary),
    CheckConstraint("id = 1", name="one_row"),
    CheckConstraint("fusion IN ('max', 'mean')", name="fusion"),
    CheckConstraint("decided_on IN ('similarity', 'context')", name="decided_on"),
    CheckConstraint("revision >= 1", name="revision"),
    CheckConstraint("length(erasure_key) = 32", name="erasure_key"),
    CheckConstraint("erase_pending IN (0, 1)", name="erase_pending"),
)

identity = Table(
    "identity",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("external_id", Text),
    Column("created_at", String(20), nullable=False),
    Column("removed_at", String(20)),
    # A merged identity stays as an alias, so that enrolling its folder again reaches the person it became.
    Column("merged_into", ForeignKey("identity.id")),
    _checksum(),
    # Name and external id under the person's key, where each has one: then tokens are in their columns.
    Column("sealed", LargeBinary),
    *_octets("name"),
    *_octets("external_id"),
    CheckConstraint("merged_into IS NULL OR (merged_into <> id AND removed_at IS NOT NULL)", name="merged"),
    # Ids are never reused: an id in a log or a result keeps meaning the same person.
    sqlite_autoincrement=True,
)
Index(
    "uq_identity_external_id",
    identity.c.external_id,
    unique=True,
    sqlite_where=text("external_id IS NOT NULL"),
    postgresql_where=text("external_id IS NOT NULL"),
)
Index(
    "uq_identity_name_alone",
    identity.c.name,
    unique=True,
    sqlite_where=text("external_id IS NULL"),
    postgresql_where=text("external_id IS NULL"),
)
Index("ix_identity_name", identity.c.name)
Index("ix_identity_merged_into", identity.c.merged_into)

template = Table(
    "template",
    metadata,
    _id(),
    Column("identity_id", ForeignKey("identity.id", ondelete="CASCADE"), nullable=False),
    Column("source", Text, nullable=False),
    Column("source_digest", LargeBinary, nullable=False),  # SHA-256 of the photo's bytes
    Column("box_x", Float),
    Column("box_y", Float),
    Column("box_width", Float),
    Column("box_height", Float),
    Column("detection_score", Float),
    Column("quality", Float),
    Column("precision", String(8), nullable=False),
    Column("created_at", String(20), nullable=False),
    Column("removed_at", String(20)),
    _checksum(),
    UniqueConstraint("identity_id", "source_digest"),
    CheckConstraint("length(source_digest) = 32", name="source_digest"),
    CheckConstraint("precision IN ('float32', 'bfloat16')", name="precision"),
    CheckConstraint(
        "(box_x IS NULL) = (box_y IS NULL) AND (box_x IS NULL) = (box_width IS NULL)"
        " AND (box_x IS NULL) = (box_height IS NULL)",
        name="box",
    ),
    sqlite_autoincrement=True,
)
Index("ix_template_source_digest", template.c.source_digest)

embedding = Table(
    "embedding",
    metadata,
    Column("template_id", ForeignKey("template.id", ondelete="CASCADE"), primary_key=True),
    Column("model_id", ForeignKey("model.id"), primary_key=True),
    Column("vector", LargeBinary, nullable=False),  # little-endian float32 [dimension]; the store checks the length
    _checksum(),
    CheckConstraint("length(vector) > 0 AND length(vector) % 4 = 0", name="vector"),
)

calibration = Table(
    "calibration",
    metadata,
    _id(),
    Column("target", String(4), nullable=False),
    Column("scores", LargeBinary, nullable=False),  # little-endian float32, largest first
    Column("trials", WHOLE, nullable=False),
    Column("gallery_size", WHOLE),
    Column("templates_per_identity", Float),
    Column("fusion", String(4)),
    Column("model_digest", String(64), nullable=False),
    Column("precision", String(8), nullable=False),
    Column("data", Text, nullable=False),
    Column("date", Text, nullable=False),
    Column("probability", Text),  # JSON of a MatchProbability
    Column("revision", WHOLE, nullable=False),  # the gallery's revision when it was saved
    # What the gallery was when it was measured (`indexer.decision.decision.Circumstances`); null for a FAR.
    Column("contents", Text),
    Column("templates", WHOLE),
    Column("detector", Text),
    Column("quality_policy", Text),
    Column("cohort", Text),
    Column("cohort_scores", LargeBinary),  # little-endian float32, in the cohort's order
    _checksum(),
    Column("decided_on", String(10), nullable=False, server_default="similarity"),  # what the scores are
    CheckConstraint("target IN ('fpir', 'far')", name="target"),
    CheckConstraint("length(scores) % 4 = 0 AND length(scores) / 4 <= trials", name="scores"),
    CheckConstraint("(target = 'fpir') = (gallery_size IS NOT NULL)", name="gallery_size"),
)

stranger = Table(
    "stranger",
    metadata,
    # Faces of people who are not enrolled, kept to measure thresholds with.
    _id(),
    Column("person", WHOLE, nullable=False),
    Column("model_id", ForeignKey("model.id"), nullable=False),
    Column("vector", LargeBinary, nullable=False),  # little-endian float32 [dimension]
    _checksum(),
    CheckConstraint("length(vector) > 0 AND length(vector) % 4 = 0", name="vector"),
)

audit = Table(
    "audit",
    metadata,
    _id(),
    Column("at", String(20), nullable=False),
    Column("action", String(16), nullable=False),
    Column("identity_id", WHOLE),  # not a foreign key: the trail outlives an erased person
    Column("details", Text, nullable=False),  # JSON of counts, never of names or paths
    _checksum(),
    sqlite_autoincrement=True,
)

undo = Table(
    "undo",
    metadata,
    # How to take back an entry of the trail; gone when it was taken back, purged, or one of its people erased.
    Column("audit_id", ForeignKey("audit.id", ondelete="CASCADE"), primary_key=True),
    Column("payload", Text, nullable=False),  # JSON; may hold a former name
    _checksum(),
)

change = Table(
    "change",
    metadata,
    # Which templates changed hands or visibility in which revision: what an index of an older one must look at again.
    # New templates are not in it: their ids are above all that the index has seen.
    Column("revision", WHOLE, primary_key=True, autoincrement=False),
    Column("template_id", WHOLE, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

erased = Table(
    "erased",
    metadata,
    # HMAC-SHA256 of an erased photo's digest: an old export does not bring the person back.
    Column("digest", LargeBinary, primary_key=True),
    _checksum(),
    CheckConstraint("length(digest) = 32", name="digest"),
)

rejection = Table(
    "rejection",
    metadata,
    # Photos that were looked at and not enrolled, and under which policy: they are not looked at again.
    Column("source_digest", LargeBinary, primary_key=True),  # SHA-256 of the photo's bytes
    Column("policy", String(64), nullable=False),  # hex SHA-256 of what the verdict depends on
    Column("reasons", Text, nullable=False),  # JSON list of reason codes
    Column("at", String(20), nullable=False),
    _checksum(),
    CheckConstraint("length(source_digest) = 32", name="source_digest"),
)

crop = Table(
    "crop",
    metadata,
    # A picture of the face, where enrolment was asked to keep one; it goes with its template.
    Column("template_id", ForeignKey("template.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("jpeg", LargeBinary, nullable=False),
    _checksum(),
    CheckConstraint("length(jpeg) > 0", name="jpeg"),
)

outside = Table(
    "outside",
    metadata,
    # Engines elsewhere in which the gallery's vectors lie too (`indexer.outside`): an erasure must reach them.
    _id(),
    Column("address", Text, nullable=False),
    _checksum(),
)

morph = Table(
    "morph",
    metadata,
    # What morphs of documents score with the gallery's model (`indexer.decision.morph.MorphScores`); no vectors.
    _id(),
    Column("model_digest", String(64), nullable=False),
    Column("worst", LargeBinary, nullable=False),  # little-endian float32, largest first
    Column("genuine", LargeBinary, nullable=False),  # little-endian float32
    Column("people", WHOLE, nullable=False),
    Column("data", Text, nullable=False),
    Column("date", Text, nullable=False),
    _checksum(),
    CheckConstraint("length(worst) % 4 = 0 AND length(genuine) % 4 = 0", name="scores"),
)

tally = Table(
    "tally",
    metadata,
    # What must be there, see `indexer.store.tally`.
    Column("name", String(16), primary_key=True),
    Column("rows", WHOLE, nullable=False),
    Column("total", WHOLE, nullable=False),
    Column("last_id", WHOLE, nullable=False),
    _checksum(),
)
