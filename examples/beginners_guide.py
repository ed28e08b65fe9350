"""The first steps with MOS: a user, a cube, remembering, finding, chatting, sharing, correcting, deleting.

    python examples/beginners_guide.py

The configuration is beside it, in beginners_guide.yaml. It needs no server and no language model: memsched starts what
it needs, and keeps its data in ./memsched-data; MEMSCHED_REDIS_URL=memory:// keeps everything in this process.
"""

from __future__ import annotations

from pathlib import Path

from memsched import MOS
from memsched.errors import CubeForbidden
from memsched.logs import configure_logs

CONFIG = Path(__file__).with_suffix(".yaml")


def show(mos: MOS, question: str) -> None:
    print(f"\nWhat is known about: {question}")
    for cube in mos.search(question)["text_mem"]:
        for result in cube["memories"]:
            print(f"  {result.score:.2f}  {cube['cube_id']}: {result.memory}")


def main() -> None:
    mos = MOS(CONFIG, log_level="error")
    configure_logs(mos.settings)
    with mos:
        # 1. Users, and a cube: a container of memories that belongs to one user.
        mos.create_user("ada", "Ada")
        mos.create_user("bob", "Bob")
        mos.register_mem_cube("home")
        mos.delete_all("home")  # from an earlier run
        print(f"Users: {', '.join(user['user_name'] or user['user_id'] for user in mos.list_users())}")

        # 2. Remember: a statement, and a conversation. It is done in the background; wait=True waits for it.
        mos.add(memory_content="I live in Lisbon since March.", mem_cube_id="home")
        mos.add(
            [
                {"role": "user", "content": "My favourite tea is jasmine tea."},
                {"role": "assistant", "content": "Jasmine it is, then. Is there anything I should know?"},
                {"role": "user", "content": "Yes, I am allergic to penicillin."},
            ],
            mem_cube_id="home",
            wait=True,
            timeout=60,
        )

        # 3. Find, and see what the next question will probably need (the working set: ready before it is asked).
        show(mos, "In which city do I live?")
        print("\nReady for the next question:")
        for memory in mos.working_set("home"):
            print(f"  {memory.said}")

        # 4. Chat. Without a chat model in the YAML file, it says so, and tells what it remembers.
        question = "Which tea do I like?"
        print(f"\nAda: {question}\n{mos.chat(question, mem_cube_id='home')}")
        mos.wait(user_id="ada", timeout=60)

        # 5. Correct and delete.
        (found,) = mos.search("I live in Lisbon", top_k=1)["text_mem"][0]["memories"]
        mos.update(found.id, "I live in Porto since March.", wait=True, timeout=60)
        show(mos, "In which city do I live now?")
        mos.delete(found.id)

        # 6. Share: Bob may ask, and not write, once he has accepted. To him the cube is called ada/home.
        grant = mos.share_cube_with_user("home", "bob", "read")
        mos.accept_cube(grant.name, "bob")
        print(f"\nBob calls it {grant.name!r}, and asks whether Ada is allergic to anything:")
        print(mos.chat("Is Ada allergic to anything?", user_id="bob", mem_cube_id=grant.name))
        try:
            mos.add(memory_content="Ada owes me a tea.", user_id="bob", mem_cube_id=grant.name)
        except CubeForbidden as refused:
            print(f"\nBob tries to write: {refused}")
        mos.revoke_cube_from_user("home", "bob")
        mos.wait(timeout=60)


if __name__ == "__main__":
    main()
