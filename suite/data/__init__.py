"""What can be trained on: data sets by name, as reproducible batches."""

from suite.data.registry import DATASETS, open_data
from suite.data.source import BatchRequest, DataInfo, DataSource, Split

__all__ = ["DATASETS", "BatchRequest", "DataInfo", "DataSource", "Split", "open_data"]
