"""Runs the migrations on the connection that `indexer.store.migrating.migrate` hands over."""

from alembic import context

from indexer.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
context.run_migrations()
