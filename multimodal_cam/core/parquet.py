"""pyarrow, an extra: whoever reads or writes Parquet files imports it from here."""

from ..extras import needed_by

with needed_by("a table in a Parquet file (a study, `--format parquet`)", "pyarrow"):
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["pa", "pq"]
