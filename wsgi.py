"""The WSGI entry point, `gunicorn wsgi:app`: the only place that patches the standard library for gevent."""

from gevent import monkey

# Before everything else, so that no module keeps an unpatched socket or lock. Under gunicorn the worker class has
# patched already, and doing so again changes nothing.
monkey.patch_all()

from gunicorn.arbiter import Arbiter  # noqa: E402

from animochat.app import create_app, refuse_other_servers  # noqa: E402
from animochat.cli.configuration import settings_or_exit  # noqa: E402

# gunicorn.conf.py has checked the settings before any worker started. Should they be wrong here all the same, this is
# the exit status upon which gunicorn stops instead of starting the worker again and again.
settings = settings_or_exit(status=Arbiter.WORKER_BOOT_ERROR)
refuse_other_servers()
app = create_app(settings)
