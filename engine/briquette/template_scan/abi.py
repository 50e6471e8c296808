"""What the compiled kernel and its driver agree on: numbers and shapes, no code."""

from __future__ import annotations

from typing import Final

# Bytes that may be read behind the newline that ends the scanned region. Every load starts at or before
# a newline that the region is known to end with, and the widest one reaches 40 bytes further.
LOOKAHEAD: Final = 64

# What one operation of a template does, after its literal matched. The first three have no value.
END: Final = 0
NEXT: Final = 1  # behind an element of a list: another one, or the end
CLOSE: Final = 2  # behind the last field of a struct: only its literal
STRING: Final = 3
FLOAT: Final = 4
INT: Final = 5
TIMESTAMP: Final = 6
BOOL: Final = 7
DATE: Final = 8
ABSENT: Final = 9
LIST: Final = 10
STRUCT: Final = 11

# Fields of one operation, a row of int64; those that every field of a line needs lie in one cache line.
OP_KIND: Final = 0
OP_WORD: Final = 1  # first literal word
OP_WORDS: Final = 2
OP_BYTES: Final = 3  # length of the literal; CSV: 1 where a delimiter stands in front of the cell
OP_PLACE: Final = 4  # where the column begins in its buffer: values, or codes (texts and lists)
OP_SLOT: Final = 5  # number of the text or of the list
OP_NARROW: Final = 6  # float: 1 when the column is float32
OP_NULLABLE: Final = 7
OP_VALID: Final = 8  # where the column begins in the buffer of validity
OP_LOW: Final = 9  # inclusive bounds: integers, or days of a timestamp
OP_HIGH: Final = 10
OP_UNITS: Final = 11  # timestamp: units in a second
OP_STORE: Final = 12  # what the column keeps, whatever the operation
OP_LIST: Final = 13  # number of the list whose elements the column counts, -1 where it counts rows
OP_JUMP: Final = 14  # operations inside of a list or struct; NEXT: back to the first of an element
OP_WIDTH: Final = 16

STORE_VALUES: Final = 0
STORE_TEXT: Final = 1
STORE_ENDS: Final = 2  # of lists
STORE_NOTHING: Final = 3  # structs

# One list column's state, a row of int64.
LIST_CAPACITY: Final = 0  # elements that there is room for
LIST_USED: Final = 1  # elements of accepted lines
LIST_AT: Final = 2  # and those of the line at hand
LIST_WIDTH: Final = 3

# One string column's state, a row of int64.
TEXT_PLAIN: Final = 0  # 1: the characters are copied; 0: codes into the column's dictionary
TEXT_COUNT: Final = 1  # entries of the dictionary
TEXT_LAST: Final = 2  # code of the previous row, -1 when there is none
TEXT_FRESH: Final = 3  # 1: the newest entry came with the line at hand
TEXT_BASE: Final = 4  # where the column's characters begin in the character buffer
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
B_END: Final = 26  # the scanned region ends here, just behind a newline
B_ORIGIN: Final = 27  # what to add to a position to get the caller's offset
B_LEARN: Final = 28  # 1: stop at a line that fits no template
B_KNOWN: Final = 29  # position of a line that is known to fit none: do not stop there
B_DELIMITER: Final = 30  # between the cells of CSV; 0: lines of JSON
B_LISTS: Final = 31
B_LIST_COUNT: Final = 32
S_POSITION: Final = 33
S_ROWS: Final = 34
S_DEVIATING: Final = 35
S_TEMPLATE: Final = 36  # the one that fitted last
S_LINES: Final = 37  # lines that are not blank
S_DETAIL: Final = 38  # the string or list column that a status is about
BLOCK_LENGTH: Final = 39

# Why the kernel came back; the line at S_POSITION has not been consumed.
DONE: Final = 0
UNKNOWN_LINE: Final = 1
ROWS_FULL: Final = 2
CHARS_FULL: Final = 3
DICTIONARY_FULL: Final = 4
DEVIATING_FULL: Final = 5
ELEMENTS_FULL: Final = 6
