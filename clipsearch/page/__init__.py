"""The parts of the page. Only this package and the entry file know Streamlit."""
