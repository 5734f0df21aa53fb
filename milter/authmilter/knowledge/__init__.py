"""What is known of a message besides DMARC (RFC 9989 §7.4). `knowledge_of` is the way in.

Pure: settings and facts in, `Knowledge` out. Nothing counts here without somebody behind it who was authenticated: an
address, a name that leads back to it, a signature, a seal. Anybody can write the rest.
"""

from authmilter.knowledge.evidence import knowledge_of, unknown_for_now
from authmilter.knowledge.forwarders import Forwarders
from authmilter.knowledge.lists import list_evidence
from authmilter.knowledge.networks import Networks
from authmilter.knowledge.sealers import Sealers

__all__ = ["Forwarders", "Networks", "Sealers", "knowledge_of", "list_evidence", "unknown_for_now"]
