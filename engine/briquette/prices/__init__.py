"""Pure functions of the price tables: what the later stages of the pipeline compute from compacted days.

Arrays and tables in, arrays and tables out: no I/O, no clock. The stages that read and publish call these.
"""
