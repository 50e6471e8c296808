"""How long logs are kept."""

from __future__ import annotations

from aws_cdk.aws_logs import RetentionDays

from briquette.errors import ConfigError
from briquette.settings.environments import Settings

_DAYS = {
    1: RetentionDays.ONE_DAY,
    3: RetentionDays.THREE_DAYS,
    5: RetentionDays.FIVE_DAYS,
    7: RetentionDays.ONE_WEEK,
    14: RetentionDays.TWO_WEEKS,
    30: RetentionDays.ONE_MONTH,
    60: RetentionDays.TWO_MONTHS,
    90: RetentionDays.THREE_MONTHS,
    180: RetentionDays.SIX_MONTHS,
    365: RetentionDays.ONE_YEAR,
}


def retention(settings: Settings) -> RetentionDays:
    """CloudWatch takes certain numbers only; another one is ``ConfigError`` and not the next best."""
    if settings.log_retention_days not in _DAYS:
        raise ConfigError(
            f"{settings.environment}: CloudWatch cannot keep logs for {settings.log_retention_days} days.",
            hint=f"Set log_retention_days to one of {', '.join(map(str, _DAYS))}.",
        )
    return _DAYS[settings.log_retention_days]
