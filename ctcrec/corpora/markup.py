"""XML from anywhere: no entity, no document type and no network is ever followed; every failure names the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ctcrec.corpora.files import read_bytes
from ctcrec.errors import CorpusError

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["children", "local_name", "namespace_of", "read_xml"]


def read_xml(path: Path) -> _Element:
    """The root element of an XML file, without comments and processing instructions.

    Raises:
        CorpusError: it cannot be read, is not well-formed, declares entities, or has values of absurd size.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,  # keeps libxml2's limits on depth, names and attribute values
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(read_bytes(path), parser)
    except (etree.LxmlError, ValueError, LookupError) as error:
        raise CorpusError(f"{path}: is not well-formed XML: {error}; export or fetch it again") from None
    definition = root.getroottree().docinfo.internalDTD
    if definition is not None and any(True for _ in definition.iterentities()):
        raise CorpusError(
            f"{path}: declares XML entities, which can name other files and are never resolved; remove its DOCTYPE"
        )
    return root


def local_name(element: _Element) -> str:
    """The name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def namespace_of(element: _Element) -> str:
    """The namespace of an element; empty where it has none."""
    return str(element.tag)[1:].partition("}")[0] if str(element.tag).startswith("{") else ""


def children(element: _Element, *names: str) -> Iterator[_Element]:
    """The children with one of the names, whatever their namespace."""
    return (child for child in element if local_name(child) in names)
