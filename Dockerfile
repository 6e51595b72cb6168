# The app on a CPU. Build: docker build -t clip-search .   Run: docker run -p 8501:8501 -v clip-weights:/weights clip-search
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 CLIP_CACHE=/weights

RUN useradd --create-home --uid 1000 app && mkdir /weights && chown app /weights
WORKDIR /app
COPY requirements.txt requirements-postgres.txt ./
# PyTorch's own index has the small CPU build, 200 MB instead of 5 GB.
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt -r requirements-postgres.txt
COPY streamlitapp.py streamlitcliputils.py ./
COPY clipsearch clipsearch
COPY demo demo
COPY .streamlit/config.toml .streamlit/config.toml

USER app
VOLUME /weights
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD python -c "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ.get(\"PORT\", 8501)}/_stcore/health', timeout=4)"
CMD ["sh", "-c", "exec streamlit run streamlitapp.py --server.address 0.0.0.0 --server.port ${PORT:-8501} --server.headless true"]
