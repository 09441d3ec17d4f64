"""From a folder of scans to a prepared dataset: read and measured, compared, planned, then written."""
