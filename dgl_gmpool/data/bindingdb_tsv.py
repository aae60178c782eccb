"""Streaming BindingDB's tab-separated dump: the rows of some targets, in bounded memory."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from dgl_gmpool._options import closest
from dgl_gmpool.data.text_source import damage_explained, existing_file, unpacked

#: Bytes read at a time. Larger blocks are not faster, smaller ones are slower.
BLOCK = 4 << 20
#: A line longer than this means that the file has no lines.
LONGEST_LINE = 64 << 20

_CHAIN_START = re.compile(r"BindingDB Target Chain Sequence( \d+)?")
_PRIMARY_ID = re.compile(r"UniProt \((SwissProt|TrEMBL)\) Primary ID of Target Chain( \d+)?")


@dataclass(frozen=True)
class BindingDBLayout:
    """Where the columns are, in any generation of the format.

    Since 2025 the chain columns are numbered (``... of Target Chain 1`` to 50). Before, the same
    names came again for every chain; or came once, and rows of multi-chain targets were longer
    than the header. ``BindingDB Target Chain  Sequence`` had two spaces.

    Attributes
    ----------
    names : list of str
        The header, with runs of spaces as one.
    accessions : list of int
        Positions of the UniProt primary IDs (SwissProt and TrEMBL, every chain of the header).
    beyond : (int, int, list of int)
        First position past the header, columns per chain, and the positions of the primary IDs
        within a chain: how a row longer than the header goes on.
    """

    names: list[str]
    accessions: list[int]
    beyond: tuple[int, int, list[int]]

    @classmethod
    def from_header(cls, header: bytes, path: Path) -> BindingDBLayout:
        cells = header.decode("utf-8-sig", errors="replace").rstrip("\r\n").split("\t")
        names = [" ".join(name.split()) for name in cells]
        accessions = [i for i, name in enumerate(names) if _PRIMARY_ID.fullmatch(name)]
        starts = [i for i, name in enumerate(names) if _CHAIN_START.fullmatch(name)]
        if not accessions or not starts:
            raise ValueError(
                f"{path} has no BindingDB header: the first row lacks 'BindingDB Target Chain "
                f"Sequence' or 'UniProt (SwissProt) Primary ID of Target Chain'. Expected is the "
                f"tab-separated file from BindingDB's download page. First columns seen: "
                f"{', '.join(names[:4])[:200]}"
            )
        last = starts[-1]
        end = len(names)
        while end > last and not names[end - 1]:
            end -= 1  # some headers end with a tab
        width = starts[1] - starts[0] if len(starts) > 1 else end - last
        return cls(names, accessions, (end, width, [i - last for i in accessions if i >= last]))

    def column(self, name: str, path: Path) -> int:
        """The position of a column before the chains; a ValueError if there is none."""
        if name in self.names:
            return self.names.index(name)
        plain = self.names[: self.accessions[0]]
        by_lower = {other.lower(): other for other in plain if other}
        near = closest(name, by_lower)
        hint = f" The closest is {by_lower[near]!r}." if near else ""
        raise ValueError(f"{path} has no column {name!r}.{hint}")

    def primary_ids(self, cells: Sequence[bytes]) -> Iterator[bytes]:
        """The UniProt primary IDs of a row, of every chain it has."""
        for position in self.accessions:
            if position < len(cells):
                yield cells[position].strip()
        start, width, offsets = self.beyond
        while start < len(cells):
            for offset in offsets:
                if start + offset < len(cells):
                    yield cells[start + offset].strip()
            start += width


@dataclass
class BindingDBRows:
    """The rows of some targets. Iterating streams the file once and counts as it goes.

    Attributes
    ----------
    path : Path
    accessions : collection of str
    rows : int
        Rows of the file seen so far, without the header.
    blank : int
        Of these, blank ones.
    layout : BindingDBLayout
        Where its columns are; the header is read at once.
    """

    path: Path
    accessions: Collection[str]
    member: str | None = None
    progress: bool = True
    rows: int = 0
    blank: int = 0
    layout: BindingDBLayout = field(init=False)

    def __post_init__(self) -> None:
        self.path = existing_file(self.path)
        if not self.path.is_file():
            raise ValueError(
                f"{self.path} is a pipe, which can be read only once; give the file itself (.tsv, "
                ".gz and .zip are read as they are)"
            )
        with damage_explained(self.path), self._open() as (file, _, _):
            header, _ = _header_and_blocks(file, self.path)
        self.layout = BindingDBLayout.from_header(header, self.path)

    def __iter__(self) -> Iterator[tuple[int, list[bytes]]]:
        """``(line number, cells)`` of each row that has one of the accessions as the UniProt
        primary ID of a chain. The header is line 1."""
        wanted = frozenset(accession.encode("ascii") for accession in self.accessions)
        self.rows = self.blank = 0
        with damage_explained(self.path), self._open() as (file, position, size):
            from tqdm import tqdm

            _, blocks = _header_and_blocks(file, self.path)
            with tqdm(
                total=size,
                desc=self.path.name,
                unit="B",
                unit_scale=True,
                disable=None if self.progress else True,
                leave=False,
            ) as bar:
                for block in blocks:
                    for line in block.split(b"\n"):
                        self.rows += 1
                        # Stripping the empty cells first makes splitting 640 columns cheap, and
                        # comparing whole cells costs the same for one accession and for 1,000.
                        cells = line.rstrip().split(b"\t")
                        if wanted.isdisjoint(cells):
                            if len(cells) == 1 and not cells[0]:
                                self.blank += 1
                            continue
                        if not wanted.isdisjoint(self.layout.primary_ids(cells)):
                            yield self.rows + 1, cells
                    bar.update(position() - bar.n)

    @contextmanager
    def _open(self) -> Iterator[tuple[BinaryIO, Callable[[], int], int]]:
        """The text as bytes, the position in the file on disk, and that file's size."""
        size = os.path.getsize(self.path)
        with open(self.path, "rb") as disk:
            start = disk.read(4)
            disk.seek(0)
            named = self.path.suffix.lower() == ".zip" and start[:2] != b"\x1f\x8b"
            zipped = start == b"PK\x03\x04" or named
            with self._open_zip(disk) if zipped else unpacked(disk) as text:
                yield text, disk.tell, size

    @contextmanager
    def _open_zip(self, disk: BinaryIO) -> Iterator[BinaryIO]:
        try:
            archive = zipfile.ZipFile(disk)
            with archive, archive.open(self._zip_member(archive.namelist())) as text:
                yield text  # type: ignore[misc]
        except zipfile.BadZipFile as error:
            raise ValueError(
                f"{self.path} is not a complete zip file ({error}); download or copy it again"
            ) from error

    def _zip_member(self, names: list[str]) -> str:
        if self.member is not None:
            if self.member in names:
                return self.member
            raise ValueError(
                f"{self.path} has no member {self.member!r}; members: {', '.join(names)}"
            )
        tables = [
            name
            for name in names
            if name.lower().endswith((".tsv", ".txt")) and not name.startswith("__MACOSX")
        ]
        tsv = [name for name in tables if name.lower().endswith(".tsv")] or tables
        if len(tsv) == 1:
            return tsv[0]
        raise ValueError(
            f"{self.path} holds {len(tsv)} tables ({', '.join(tsv or names)[:300]}), one was "
            f"expected; choose with member=, or unpack it and give the .tsv"
        )


def _header_and_blocks(file: BinaryIO, path: Path) -> tuple[bytes, Iterator[bytes]]:
    """The first line, and the rest in blocks of whole lines without the last line end."""
    start = b""
    while b"\n" not in start:
        block = file.read(BLOCK)
        start += block
        if not block:
            break
        if len(start) > LONGEST_LINE:
            raise _no_lines(path)
    header, _, rest = start.partition(b"\n")
    return header, _whole_lines(file, rest, path)


def _whole_lines(file: BinaryIO, rest: bytes, path: Path) -> Iterator[bytes]:
    pending = [rest]
    while True:
        block = file.read(BLOCK)
        cut = block.rfind(b"\n")
        if cut >= 0:
            yield b"".join([*pending, block[:cut]])
            pending = [block[cut + 1 :]]
        elif block:
            pending.append(block)
            if sum(map(len, pending)) > LONGEST_LINE:
                raise _no_lines(path)
        else:
            break
    last = b"".join(pending)
    if last:
        # The last line may lack its end; what comes after the last end is no line.
        yield last[:-1] if last.endswith(b"\n") else last


def _no_lines(path: Path) -> ValueError:
    return ValueError(
        f"{path} has a line of more than {LONGEST_LINE >> 20} MB; it is no tab-separated text"
    )
