"""What names a patient: hidden in all that is shown, replaced by a keyed hash in all that is kept."""

from imgmed.privacy.pseudonyms import Pseudonyms, read_patient_key
from imgmed.privacy.redaction import Redaction

__all__ = ["Pseudonyms", "Redaction", "read_patient_key"]
