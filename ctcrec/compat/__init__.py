"""Interfaces of other packages on top of ctcrec's decoders."""
