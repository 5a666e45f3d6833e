"""Two gauges: harmfulness at the instruction's last token, refusal at the template's; does setting one move the other?"""

from rhat.gauges.cost import told_of_gauges
from rhat.gauges.measure import gauges
from rhat.gauges.rows import Gauges
from rhat.gauges.settings import GaugeSettings

__all__ = ["GaugeSettings", "Gauges", "gauges", "told_of_gauges"]
