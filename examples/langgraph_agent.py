"""A LangGraph agent that remembers from one conversation to the next, with a stand-in for the model.

    pip install langgraph                 # memsched itself with its extra langgraph, as `make install` makes it
    python examples/langgraph_agent.py

The graph has three steps: look up what the user said before, answer, note what they say of themselves. Its store is a
``MemschedStore``: the first label of a namespace is the user, the second one a cube of theirs, so what Ada says is
found for Ada, in whatever conversation, and for nobody else. The stand-in answers with the note that fits best; put a
model of yours in its place.

It needs no server: memsched starts what it needs in a temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
from typing import TypedDict
from uuid import uuid4

from memsched import Settings
from memsched.logs import configure_logs

try:
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph import END, START, StateGraph
    from langgraph.store.base import BaseStore

    from memsched.integrations.langgraph_store import MemschedStore
except ImportError as error:
    sys.exit(f"This example needs {error.name}: pip install langgraph 'memsched[langgraph]'")

TALKS = [
    ("ada", "monday", "My boat is in the harbour of Kiel."),
    ("ada", "monday", "My sister Mia is a nurse in Bergen."),
    ("bob", "monday", "My boat is in a barn in Tromso."),
    ("ada", "friday", "Where is my boat?"),
    ("bob", "friday", "Where is my boat?"),
    ("ada", "friday", "What does Mia do?"),
]


class State(TypedDict, total=False):
    said: str
    known: list[str]
    answer: str


def notes_of(config: RunnableConfig) -> tuple[str, ...]:
    """The namespace of a user's notes."""
    return (config["configurable"]["user_id"], "agent", "notes")


def look_up(state: State, config: RunnableConfig, *, store: BaseStore) -> State:
    found = store.search(notes_of(config), query=state["said"], limit=3)
    return {"known": [item.value["said"] for item in found if (item.score or 0) >= 0.5]}


def stand_in(state: State) -> State:
    """In the place of a model: it answers a question with what is known, and takes note of the rest."""
    if not state["said"].endswith("?"):
        return {"answer": "Noted."}
    return {"answer": next(iter(state["known"]), "I do not know.")}


def note(state: State, config: RunnableConfig, *, store: BaseStore) -> State:
    if not state["said"].endswith("?"):
        store.put(
            notes_of(config), str(uuid4()), {"said": state["said"], "thread": config["configurable"]["thread_id"]}
        )
    return {}


def agent(store: BaseStore):  # type: ignore[no-untyped-def]
    graph = StateGraph(State)
    graph.add_sequence([look_up, stand_in, note])
    graph.add_edge(START, "look_up")
    graph.add_edge("note", END)
    return graph.compile(store=store)


def talk(folder: str) -> None:
    settings = {"redis_url": f"embedded://{folder}", "log_level": "error"}
    configure_logs(Settings.load(**settings))
    with MemschedStore(**settings) as store:
        graph = agent(store)
        for user, thread, said in TALKS:
            config = {"configurable": {"user_id": user, "thread_id": thread}}
            print(f"{user}, {thread}: {said}\n  {graph.invoke({'said': said}, config)['answer']}")
        (place,) = store.list_namespaces(prefix=("ada",))
        print(f"{place}: {len(store.search(place))} notes")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="memsched-example-", ignore_cleanup_errors=True) as folder:
        talk(folder)
