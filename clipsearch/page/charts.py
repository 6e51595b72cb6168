"""The chart that compares the two orders."""

from __future__ import annotations

import streamlit as st

from clipsearch.page.export import ranking_rows
from clipsearch.search import Progress


def show_reranking(progress: Progress) -> None:
    """Lines from each photo's original place to its place by meaning, with its score."""
    import altair as alt  # takes half a second, and most visitors never open this

    ink = st.get_option(f"theme.{st.context.theme.type or 'light'}.textColor")
    rows = ranking_rows(progress)
    sides = {progress.source.title: "original_rank", "Semantic Search": "rank"}
    ends = [
        {"side": side, "place": row[rank], "photo": row["description"] or row["id"]} | row
        for row in rows
        for side, rank in sides.items()
    ]
    hovered = alt.selection_point(fields=["id"], on="pointerover", nearest=True, empty=False)
    base = alt.Chart(alt.InlineData(values=ends)).encode(
        x=alt.X("side:N", sort=list(sides), title=None).axis(labelAngle=0, orient="top", labelLimit=200),
        y=alt.Y("place:Q", title="Place").scale(reverse=True, nice=False, zero=False).axis(tickMinStep=1),
        detail="id:N",
        tooltip=[alt.Tooltip("photo:N", title="Photo"), alt.Tooltip("place:Q", title="Place"), "score:Q"],
    )
    lines = base.mark_line(color="#4b9b7f").encode(
        opacity=alt.condition(hovered, alt.value(1), alt.value(0.45)),
        strokeWidth=alt.condition(hovered, alt.value(4), alt.value(1.5)),
    )
    points = base.mark_point(filled=True, size=60, color="#4b9b7f").add_params(hovered)
    scores = base.transform_filter(alt.datum.side == "Semantic Search")
    labels = scores.mark_text(align="left", dx=10, color=ink).encode(text=alt.Text("score:Q", format=".2f"))
    height = max(300, 22 * len(rows))
    chart = (lines + points + labels).properties(height=height).configure_axis(labelColor=ink, titleColor=ink)
    st.altair_chart(chart, width="stretch", alt="Places before and after")
