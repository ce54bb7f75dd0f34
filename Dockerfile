# The service of docs/service.md. The exported verifier is no part of the image: it is mounted.
FROM python:3.11-slim
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app
WORKDIR /app
COPY requirements-serve.txt requirements-serve.txt
RUN python -m pip install --no-cache-dir --require-hashes --requirement requirements-serve.txt
COPY src/faceverify faceverify
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz')"]
ENTRYPOINT ["python", "-m", "faceverify", "serve", "--host", "0.0.0.0"]
CMD ["--verifier", "/bundle/verifier.json"]
