"""What proves who we are to a server: a password, or a token that somebody issues for a while."""

from .source import Credential, Source, source_of

__all__ = ["Credential", "Source", "source_of"]
