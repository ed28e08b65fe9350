"""Weeks about buying a house, then weeks about renovating it: what is near follows the talk.

    python examples/house_to_renovation.py
    python examples/house_to_renovation.py --language zh
    python examples/house_to_renovation.py --folder house  # and then, as often as you like:
    memsched explain --user mara --cube home --redis-url embedded://house

Mara tells of prices and viewings, then of tiles, pipes and furniture; groceries and films come in between. Twice they
ask something, and are answered. The weeks are replayed in seconds, but memsched goes by the messages' own times: house
hunting is activated, and given up when the renovation takes over; and at the end, when Mara says no more than that too
many things are piling up, the working set holds what is open in the renovation. No language model is needed.

It needs no server: memsched starts what it needs, in a temporary folder if none is named.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from datetime import UTC, datetime, timedelta

from memsched import ADD_LABEL, ANSWER_LABEL, QUERY_LABEL, AsyncMemScheduler, ScheduleMessageItem
from memsched.logs import configure_logs

USER, CUBE = "mara", "home"
MONDAY = datetime(2026, 3, 2, 19, 0, tzinfo=UTC)

Told = tuple[int, str, str]
"""The day, the label, the text."""

ENGLISH: list[Told] = [
    (0, "add", "We want to buy a house of our own, with four rooms and a garden, for at most 320,000."),
    (1, "add", "Need milk, rice and onions."),
    (2, "add", "The house in Mill Lane is offered for 335,000, the viewing is on Saturday at 11."),
    (4, "add", "The bank would lend us 240,000 for a house at 3.4 percent over 25 years."),
    (5, "add", "At the viewing in Mill Lane the cellar was damp and the roof is from 1974."),
    (6, "add", "Watched an old western."),
    (8, "add", "The agent shows us a second house on Tuesday at 17:30, in Orchard Street, for 298,000."),
    (9, "query", "What would the bank lend us?"),
    (9, "answer", "The bank would lend you 240,000 for a house at 3.4 percent over 25 years."),
    (10, "add", "The house in Orchard Street has dry walls, a new roof and a plum tree, we offer 290,000."),
    (12, "add", "Potatoes are cheap this week."),
    (13, "add", "The seller of the house in Orchard Street accepts 293,000, the notary is booked for the 20th at 10."),
    (18, "add", "The contract for the house is signed, the price is paid on the 27th. That is done."),
    (20, "add", "The film was too long."),
    (25, "add", "We have the keys, and the renovation begins: the bathroom and the kitchen come first."),
    (26, "add", "The tiler needs 24 square metres of grey tiles for the bathroom by Monday, we must order them."),
    (27, "add", "The plumber lays new water pipes in the bathroom on the 3rd and wants the wall open by then."),
    (28, "add", "The electrician moves four sockets in the kitchen, we must mark where they go before Thursday."),
    (29, "add", "Bought bread and cheese."),
    (30, "add", "The kitchen furniture is delivered on the 14th between 8 and 12, somebody has to be in."),
    (31, "query", "How many tiles does the bathroom need?"),
    (31, "answer", "The tiler needs 24 square metres of grey tiles for the bathroom by Monday."),
    (32, "add", "The tiles for the kitchen floor are 12 short, the shop can send them in two weeks."),
    (33, "add", "The electricity meter has to be moved by the grid company, the form needs the electrician's stamp."),
    (34, "add", "A comedy on television."),
    (35, "add", "The water stays off on Wednesday from 9 to 15 while the plumber joins the pipes."),
    (36, "add", "The wardrobe is delivered on the 16th, the stairs are 4 centimetres too narrow for it."),
    (37, "add", "The painter can start after the tiler, he asks 1,900 for five rooms, we have to say yes by Friday."),
    (38, "add", "The skip for the old tiles and pipes needs a permit for the street, it takes ten days."),
]
CHINESE: list[Told] = [
    (0, "add", "我们打算买一套自己的房子，四个房间带小院，总价不超过三百二十万。"),
    (1, "add", "要买牛奶和大米。"),
    (2, "add", "磨坊路那套房子报价三百三十五万，中介约了周六上午十一点看房。"),
    (4, "add", "银行说买房可以贷款二百四十万，利率百分之三点四，分二十五年还。"),
    (5, "add", "看房的时候发现磨坊路那套地下室很潮，屋顶还是七四年的。"),
    (6, "add", "看了部老电影。"),
    (8, "add", "中介周二下午五点半带我们看果园街的第二套房子，报价二百九十八万。"),
    (9, "query", "银行可以贷款多少？"),
    (9, "answer", "银行说买房可以贷款二百四十万，利率百分之三点四，分二十五年还。"),
    (10, "add", "果园街的房子墙面干燥，屋顶是新的，院里有棵李子树，我们出价二百九十万。"),
    (12, "add", "这周土豆便宜。"),
    (13, "add", "果园街的房东同意二百九十三万成交，二十号上午十点去办过户。"),
    (18, "add", "买房合同签完了，房款二十七号付清，这件事办妥了。"),
    (20, "add", "电影太长了。"),
    (25, "add", "钥匙拿到了，装修开工，先做卫生间和厨房。"),
    (26, "add", "瓦工说卫生间要二十四平方米灰色瓷砖，周一之前必须订好。"),
    (27, "add", "水工三号来给卫生间铺新水管，在那之前墙要先凿开。"),
    (28, "add", "电工要在厨房移四个插座，周四之前我们得把位置标出来。"),
    (29, "add", "买了面包和鸡蛋。"),
    (30, "add", "厨房家具十四号上午八点到十二点送货，家里必须有人。"),
    (31, "query", "卫生间要多少瓷砖？"),
    (31, "answer", "瓦工说卫生间要二十四平方米灰色瓷砖，周一之前必须订好。"),
    (32, "add", "厨房地面的瓷砖还差十二块，建材店要两个星期才能补货。"),
    (33, "add", "电表要请供电公司来移，申请表上需要电工盖章。"),
    (34, "add", "电视上有喜剧。"),
    (35, "add", "周三九点到十五点停水，水工要接卫生间的水管。"),
    (36, "add", "衣柜十六号送货，可是楼梯窄了四厘米，搬不上去。"),
    (37, "add", "油漆工等瓦工做完才能进场，五个房间要一万九，周五之前得答复。"),
    (38, "add", "放旧瓷砖和旧水管的垃圾箱要占道许可，办下来需要十天。"),
]
STORIES = {
    "en": (ENGLISH, "Too many things are piling up, help me organise them."),
    "zh": (CHINESE, "事情太多了，都堆在一起，帮我理一理。"),
}
LOOKS = (14, 24, 38)
"""Days at whose end the timeline looks at the themes."""


def message(day: int, label: str, text: str, minute: int = 0) -> ScheduleMessageItem:
    at = MONDAY + timedelta(days=day, minutes=minute)
    return ScheduleMessageItem(
        user_id=USER, mem_cube_id=CUBE, label=label, content=text, timestamp=at, session_id=f"{at:%Y-%m-%d}"
    )


async def play(scheduler: AsyncMemScheduler, story: list[Told], request: str) -> None:
    """Tell the story, and look at what is near on the way and after the request."""

    async def send(*messages: ScheduleMessageItem) -> None:
        await scheduler.submit_messages(messages)
        await scheduler.wait(user_id=USER, timeout=60)

    labels = {"add": ADD_LABEL, "query": QUERY_LABEL, "answer": ANSWER_LABEL}
    begin = seen = 0
    for end in LOOKS:
        for minute, (day, label, text) in enumerate(story):
            if begin <= day <= end:
                await send(message(day, labels[label], text, minute))
        begin = end + 1
        print(f"\n{MONDAY + timedelta(days=end):%d %B}")
        explained = await scheduler.explain(USER, CUBE)
        for theme in explained.themes:
            print(f"  {theme.state:<10} {theme.heat:4.1f}  {theme.label} ({len(theme.memory_ids)} memories)")
        for move in explained.moves[seen:]:
            print(f"  {move.at:%d %B}: {move.from_tier} -> {move.to_tier}: {move.why}")
        seen = len(explained.moves)
    await send(message(39, QUERY_LABEL, request))
    print(f"\n{MONDAY + timedelta(days=39):%d %B}: {request}")
    near = await scheduler.working_set(USER, CUBE)
    for number, memory in enumerate(near, 1):
        print(f"  {number:2}. {memory.text}")
    explained = await scheduler.explain(USER, CUBE, near[0].memory_id)
    if explained.memory is not None:
        print(f"\nWhy the first one? {explained.memory.outlook}")


async def main(language: str, kept: str | None) -> None:
    story, request = STORIES[language]
    with tempfile.TemporaryDirectory(prefix="memsched-house-", ignore_cleanup_errors=True) as temporary:
        folder = kept or temporary
        scheduler = AsyncMemScheduler(redis_url=f"embedded://{folder}", working_set_size=10, log_level="error")
        configure_logs(scheduler.settings)
        await scheduler.start()
        try:
            await play(scheduler, story, request)
        finally:
            await scheduler.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--language", choices=sorted(STORIES), default="en")
    parser.add_argument("--folder", metavar="FOLDER", help="where to keep all of it, to look at it afterwards")
    given = parser.parse_args()
    asyncio.run(main(given.language, given.folder))
