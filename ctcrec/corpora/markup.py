"""XML from anywhere: no entity, no document type and no network is ever followed; every failure names the file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ctcrec.corpora.files import read_bytes
from ctcrec.errors import CorpusError

if TYPE_CHECKING:
    from lxml.etree import _Element

__all__ = ["children", "local_name", "namespace_of", "read_xml"]

_REFERENCE = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\w+);)")


def read_xml(path: Path) -> _Element:
    """The root element of an XML file, without comments and processing instructions.

    Raises:
        CorpusError: it cannot be read, is not well-formed, has entities of its own, or has values of absurd size.
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
    data = read_bytes(path)
    try:
        root = etree.fromstring(data, parser)
        document = root.getroottree().docinfo
        declared = document.internalDTD is not None and any(True for _ in document.internalDTD.iterentities())
        # A document type may declare some elsewhere; lxml leaves them out of attributes without a word
        text = data.decode(document.encoding or "utf-8", "replace") if document.doctype else ""
    except (etree.LxmlError, ValueError, LookupError) as error:
        raise CorpusError(f"{path}: is not well-formed XML: {error}; export or fetch it again") from None
    if declared or _REFERENCE.search(text):
        raise CorpusError(
            f"{path}: declares or uses XML entities, which can name other files and are never resolved; remove its"
            " DOCTYPE and write the characters themselves"
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
