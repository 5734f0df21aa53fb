"""Every name that BIMI brings with it. The drafts are no RFCs, and what they call things may change: it changes here.

Pinned revisions:

    core      draft-brand-indicators-for-message-identification-12, 3 November 2025 (-14 of 1 May 2026 is the newest)
    evidence  draft-fetch-validation-vmc-wchuang-11, 1 May 2026
    SVG       draft-svg-tiny-ps-abrotman-12, 1 May 2026

Comments cite them as "BIMI core §", "BIMI evidence §" and "SVG Tiny PS §". No I/O.
"""

from __future__ import annotations

# header fields (BIMI core §5)
SELECTOR_FIELD = "BIMI-Selector"  # the sender's
LOCATION_FIELD = "BIMI-Location"  # these three are the receiver's
INDICATOR_FIELD = "BIMI-Indicator"
PREFERENCE_FIELD = "BIMI-Logo-Preference"
RECEIVER_FIELDS = (LOCATION_FIELD, INDICATOR_FIELD, PREFERENCE_FIELD)

# tags of record and fields (BIMI core §4.3, §5)
VERSION = "BIMI1"
LOCATION_TAG = "l"
EVIDENCE_TAG = "a"
PREFERENCE_TAG = "avp"
LOCAL_PART_TAG = "lps"
SELECTOR_TAG = "s"
PREFERENCES = ("personal", "brand")

LABEL = "_bimi"  # <selector>._bimi.<domain>
DEFAULT_SELECTOR = "default"

# Authentication-Results (BIMI core §7.7); not in the IANA registry of RFC 8601
METHOD = "bimi"
DOMAIN_PROPERTY = "header.d"
SELECTOR_PROPERTY = "header.selector"
AUTHORITY_PROPERTY = "policy.authority"
AUTHORITY_URI_PROPERTY = "policy.authority-uri"
INDICATOR_URI_PROPERTY = "policy.indicator-uri"
INDICATOR_HASH_PROPERTY = "policy.indicator-hash"
PREFERENCE_PROPERTY = "policy.logo-preference"

# certificates (BIMI evidence §4; the mark types are those of the requirements for mark certificates)
MARK_USAGE = "1.3.6.1.5.5.7.3.31"  # id-kp-BrandIndicatorforMessageIdentification
LOGOTYPE = "1.3.6.1.5.5.7.1.12"  # RFC 9399 §4.1
MARK_TYPE = "1.3.6.1.4.1.53087.1.13"
PILOT = "1.3.6.1.4.1.53087.4.1"  # pilot identifier: a certificate for trials
VERIFIED_MARKS = ("Registered Mark", "Government Mark")  # VMC
COMMON_MARKS = ("Prior Use Mark", "Modified Registered Mark", "Provisional Mark")  # CMC

# the profile of SVG (SVG Tiny PS §2)
PROFILE = "tiny-ps"
SVG_VERSION = "1.2"
