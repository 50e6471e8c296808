"""The kernel kept as a flat image: linked once, with the columns of one linked at each start."""

import ctypes
from pathlib import Path

import pytest

from briquette.model import Field, Schema
from briquette.template_scan import scan
from briquette.template_scan.compiler import image, native

pytestmark = pytest.mark.skipif(not scan.available(), reason="numba is not installed")

SCHEMA = Schema((Field("symbol", "string", nullable=False), Field("price", "float64")))

# One function that calls another and reads a table: what linking has to get right.
ASSEMBLY = """
target triple = "x86_64-unknown-linux-gnu"
@table = internal unnamed_addr constant [4 x i64] [i64 5, i64 70, i64 900, i64 11000]
define internal i64 @entry_of(i64 %n) noinline {
  %p = getelementptr [4 x i64], ptr @table, i64 0, i64 %n
  %v = load i64, ptr %p
  ret i64 %v
}
OTHER
define i64 @wanted(i64 %n) {
  %v = call i64 @entry_of(i64 %n)
  MORE
  ret i64 %v
}
"""
OUTSIDE = ("declare void @elsewhere()", "call void @elsewhere()")
WRITABLE = ("@state = internal global i64 3", "store volatile i64 %v, ptr @state")


def _object(other="", more=""):
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple("x86_64-unknown-linux-gnu")
    machine = target.create_target_machine(opt=0, reloc="pic", codemodel="small")
    return machine.emit_object(llvm.parse_assembly(ASSEMBLY.replace("OTHER", other).replace("MORE", more)))


@pytest.mark.skipif(not native.IMAGES, reason="images are made on Linux on x86-64 only")
class TestImage:
    def test_a_linked_image_calls_and_reads_at_any_address(self):
        flat = image.linked(_object(), "wanted")
        loaded = [image.load(flat) for _ in range(3)]
        assert len({address for _, address in loaded}) == 3
        for _, address in loaded:
            function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)
            assert [function(n) for n in range(4)] == [5, 70, 900, 11000]

    @pytest.mark.parametrize("extra", [OUTSIDE, WRITABLE])
    def test_an_object_that_needs_more_than_laying_out_is_left_to_the_real_linker(self, extra):
        assert image.linked(_object(*extra), "wanted") is None

    def test_an_object_without_the_entry_gives_no_image(self):
        assert image.linked(_object(), "another") is None

    def test_the_kernel_itself_links(self):
        scan.warm()
        assert native._verified(native._cached_file()).startswith(image.MAGIC)

    def test_its_memory_is_not_writable_once_it_can_run(self):
        _keep, address = image.load(image.linked(_object(), "wanted"))
        lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
        spans = [(*(int(n, 16) for n in words[0].split("-")), words[1]) for words in lines]
        (rights,) = [r for start, stop, r in spans if start <= address < stop]
        assert rights.startswith("r-x")


def test_a_kernel_kept_as_an_object_file_gives_the_same_columns(tmp_path, monkeypatch):
    """What other machines than Linux on x86-64 run: the object, linked at each start."""
    lines = b"".join(b'{"symbol": "S%d", "price": %d.25}\n' % (i % 7, i) for i in range(5000))
    here = scan.scan_json_lines(lines, SCHEMA)
    monkeypatch.setenv("BRIQUETTE_SCAN_CACHE", str(tmp_path))
    monkeypatch.setattr(native, "_loaded", [])
    monkeypatch.setattr(native, "IMAGES", False)
    there = scan.scan_json_lines(lines, SCHEMA)
    assert native._verified(native._cached_file()).startswith(b"\x7fELF")
    assert there.columns == here.columns
    assert there.rows == here.rows == 5000
