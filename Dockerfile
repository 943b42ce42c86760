# One image for web, workers and beat; compose.yaml sets the command of each.
FROM python:3.11-slim
WORKDIR /app
COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN useradd --system --uid 10001 watchdog && mkdir /data && chown watchdog /data
USER watchdog
ENV DATA_DIR=/data PYTHONUNBUFFERED=1
EXPOSE 8000
CMD ["granian", "--interface", "asginl", "--loop", "uvloop", "--http", "1", "--host", "0.0.0.0", "--port", "8000", "--backlog", "4096", "--backpressure", "20000", "--workers-kill-timeout", "10", "--respawn-failed-workers", "watchdog_project.asgi:application"]
