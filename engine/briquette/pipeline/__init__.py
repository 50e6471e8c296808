"""The daily prices pipeline: transform, indicators, a day through all stages, many days."""
