"""nightloom.toml as typed settings: a file per section, and loader.py, which reads them.

Every key is documented here, under its field; `docs/settings.md` is made from these lines and a test keeps it current.
[slate] is in nightloom/slate/settings.py, beside the rules that it declares.
"""

from nightloom.section import Section as Section
from nightloom.settings.gates import DataGate as DataGate
from nightloom.settings.gates import ModelGate as ModelGate
from nightloom.settings.gates import SlateGate as SlateGate
from nightloom.settings.loader import CHECKED_VARIABLE as CHECKED_VARIABLE
from nightloom.settings.loader import CONFIG_VARIABLE as CONFIG_VARIABLE
from nightloom.settings.loader import config_file as config_file
from nightloom.settings.loader import load as load
from nightloom.settings.locations import line_of as line_of
from nightloom.settings.locations import place_of as place_of
from nightloom.settings.marts import Mart as Mart
from nightloom.settings.models import ModelSpec as ModelSpec
from nightloom.settings.settings import Settings as Settings
from nightloom.settings.signals import Signal as Signal
from nightloom.settings.sources import SOURCE_COLUMNS as SOURCE_COLUMNS
from nightloom.settings.sources import Source as Source
from nightloom.settings.store import Canary as Canary
from nightloom.settings.times import TIMESTAMP_UNITS as TIMESTAMP_UNITS
from nightloom.settings.training import Training as Training
