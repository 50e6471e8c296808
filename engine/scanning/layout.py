"""What the compiled kernel and its driver agree on: numbers and shapes, no code."""

from __future__ import annotations

from typing import Final

# Bytes that may be read behind the newline that ends the scanned region. Every load starts at or before
# a newline that the region is known to end with, and the widest one reaches 40 bytes further.
LOOKAHEAD: Final = 64

# What one operation of a template does, after its literal matched.
END: Final = 0
STRING: Final = 1
FLOAT: Final = 2
INT: Final = 3
TIMESTAMP: Final = 4
BOOL: Final = 5
DATE: Final = 6
ABSENT: Final = 7

# Fields of one operation, a row of int64.
OP_KIND: Final = 0
OP_COLUMN: Final = 1  # column of the schema
OP_SLOT: Final = 2  # which run of the value area (or, for strings, of the code area)
OP_NULLABLE: Final = 3
OP_WORD: Final = 4  # first literal word
OP_WORDS: Final = 5
OP_BYTES: Final = 6  # length of the literal; CSV: 1 where a delimiter stands in front of the cell
OP_LOW: Final = 7  # inclusive bounds: integers, or days of a timestamp
OP_HIGH: Final = 8
OP_UNITS: Final = 9  # timestamp: units in a second
OP_NARROW: Final = 10  # float: 1 when the column is float32
OP_WIDTH: Final = 11

# One string column's state, a row of int64.
TEXT_PLAIN: Final = 0  # 1: the characters are copied; 0: codes into the column's dictionary
TEXT_COUNT: Final = 1  # entries of the dictionary
TEXT_LAST: Final = 2  # code of the previous row, -1 when there is none
TEXT_FRESH: Final = 3  # 1: the newest entry came with the line at hand
TEXT_BASE: Final = 4  # where the column's characters begin in the character area
TEXT_CAPACITY: Final = 5
TEXT_WIDTH: Final = 6

DICTIONARY_ENTRIES: Final = 16_384
DICTIONARY_TABLE: Final = 32_768  # a power of two, twice the entries
DICTIONARY_BYTES: Final = 1 << 20
DICTIONARY_ALWAYS: Final = 256  # so many distinct texts are fine whatever the number of rows
DICTIONARY_RATIO: Final = 4  # above that, at most one distinct text in so many rows

# The driver's block of int64: addresses and lengths first, then the state that the kernel writes back.
B_BUFFER: Final = 0
B_BUFFER_LENGTH: Final = 1
B_OPS: Final = 2
B_OPS_LENGTH: Final = 3
B_WORDS: Final = 4
B_MASKS: Final = 5
B_WORDS_LENGTH: Final = 6
B_TEMPLATES: Final = 7
B_TEMPLATE_COUNT: Final = 8
B_VALUES: Final = 9
B_VALUES_LENGTH: Final = 10
B_VALID: Final = 11
B_VALID_LENGTH: Final = 12
B_CODES: Final = 13
B_CODES_LENGTH: Final = 14
B_CHARS: Final = 15
B_CHARS_LENGTH: Final = 16
B_TEXTS: Final = 17
B_TEXT_COUNT: Final = 18
B_DICT_CHARS: Final = 19
B_DICT_OFFSETS: Final = 20
B_DICT_TABLE: Final = 21
B_ROW_STARTS: Final = 22
B_DEVIATING: Final = 23
B_DEVIATING_CAPACITY: Final = 24
B_CAPACITY: Final = 25  # rows
B_COLUMNS: Final = 26
B_END: Final = 27  # the scanned region ends here, just behind a newline
B_ORIGIN: Final = 28  # what to add to a position to get the caller's offset
B_LEARN: Final = 29  # 1: stop at a line that fits no template
B_KNOWN: Final = 30  # position of a line that is known to fit none: do not stop there
B_DELIMITER: Final = 31  # between the cells of CSV; 0: lines of JSON
S_POSITION: Final = 32
S_ROWS: Final = 33
S_DEVIATING: Final = 34
S_TEMPLATE: Final = 35  # the one that fitted last
S_LINES: Final = 36  # lines that are not blank
S_DETAIL: Final = 37  # the string column that a status is about
BLOCK_LENGTH: Final = 38

# Why the kernel came back; the line at S_POSITION has not been consumed.
DONE: Final = 0
UNKNOWN_LINE: Final = 1
ROWS_FULL: Final = 2
CHARS_FULL: Final = 3
DICTIONARY_FULL: Final = 4
DEVIATING_FULL: Final = 5
