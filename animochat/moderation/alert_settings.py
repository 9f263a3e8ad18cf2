"""Whether the settings of alerts go together. Imports nothing that a worker has to be patched for first."""

from __future__ import annotations

from animochat.settings import Settings, SettingsError


def check_alert_settings(settings: Settings) -> None:
    """Raise SettingsError where a setting needs another one."""
    mistakes = []
    if settings.webhook_url and not settings.webhook_secret:
        mistakes.append("WEBHOOK_SECRET: required with WEBHOOK_URL")
    if settings.alert_email and not settings.smtp_url and not settings.webhook_url:
        mistakes.append("SMTP_URL: required with ALERT_EMAIL")
    if mistakes:
        raise SettingsError(mistakes)
