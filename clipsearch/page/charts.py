"""The chart that compares the two orders."""

from __future__ import annotations

import streamlit as st

from clipsearch.page.address import go
from clipsearch.page.cards import picture_address
from clipsearch.page.export import ranking_rows
from clipsearch.search import Progress
from clipsearch.types import Photo


def show_reranking(progress: Progress, shown: list[Photo]) -> None:
    """Lines from each photo's original place to its place by meaning, with its score."""
    import altair as alt  # takes half a second, and most visitors never open this

    ink = st.get_option(f"theme.{st.context.theme.type or 'light'}.textColor")
    wanted = {photo.id: photo for photo in shown}
    rows = [row for row in ranking_rows(progress) if row["original_rank"] and row["id"] in wanted]
    sides = {progress.source.title: "original_rank", "Semantic Search": "rank"}
    ends = [
        {"side": side, "place": row[rank], "photo": row["description"] or row["id"]}
        | row
        | {"image": picture_address(progress.source, wanted[str(row["id"])])}
        for row in rows
        for side, rank in sides.items()
    ]
    clicked = alt.selection_point(name="clicked", fields=["id"], on="click", nearest=True)
    hovered = alt.selection_point(fields=["id"], on="pointerover", nearest=True, empty=False)
    base = alt.Chart(alt.InlineData(values=ends)).encode(
        x=alt.X("side:N", sort=list(sides), title=None).axis(labelAngle=0, orient="top", labelLimit=200),
        y=alt.Y("place:Q", title="Place").scale(reverse=True, nice=False, zero=False).axis(tickMinStep=1),
        detail="id:N",
        tooltip=["image:N", alt.Tooltip("photo:N", title="Photo"), alt.Tooltip("place:Q", title="Place"), "score:Q"],
    )
    lines = base.mark_line(color="#4b9b7f").encode(
        opacity=alt.condition(hovered, alt.value(1), alt.value(0.45)),
        strokeWidth=alt.condition(hovered, alt.value(4), alt.value(1.5)),
    )
    points = base.mark_point(filled=True, size=60, color="#4b9b7f").add_params(hovered, clicked)
    scores = base.transform_filter(alt.datum.side == "Semantic Search")
    labels = scores.mark_text(align="left", dx=10, color=ink).encode(text=alt.Text("score:Q", format=".2f"))
    height = max(300, 22 * len(rows))
    chart = (lines + points + labels).properties(height=height).configure_axis(labelColor=ink, titleColor=ink)
    event = st.altair_chart(
        chart, width="stretch", alt="Places before and after", on_select="rerun", selection_mode="clicked", key="chart"
    )
    chosen = event.selection.get("clicked") if event else None
    if chosen and chosen[0]["id"] != st.session_state.get("charted"):
        st.session_state.charted = chosen[0]["id"]
        go(photo=chosen[0]["id"])
        st.rerun()
