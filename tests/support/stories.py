"""Weeks about buying a house, then weeks about renovating it, with chatter in between: (day, what was told)."""

from __future__ import annotations

Told = list[tuple[int, str]]

HOUSE: dict[str, Told] = {
    "en": [
        (0, "We want to buy a house near the river, with a garden and three rooms."),
        (1, "The bank offers a mortgage of 240,000 for the house at 3.1 percent."),
        (3, "The viewing of the house in Mill Lane is on Saturday at 11, bring the floor plan."),
        (4, "Rain again."),
        (5, "The seller of the house asks 310,000, the agent says 300,000 is possible."),
        (6, "Soup for lunch."),
        (8, "The notary signs the contract for the house on the 12th at 10, bring passports."),
    ],
    "zh": [
        (0, "我们打算买一套河边的房子，要三个房间，最好带小院。"),
        (1, "银行说买房可以贷款二百四十万，利率百分之三点一。"),
        (3, "磨坊路那套房子周六上午十一点看房，记得带户型图。"),
        (4, "又下雨了。"),
        (5, "房东要价三百一十万，中介说三百万可以谈下来。"),
        (6, "中午喝了汤。"),
        (8, "十二号上午十点签买房合同，要带身份证和户口本。"),
    ],
}
RENOVATION: dict[str, Told] = {
    "en": [
        (27, "The bathroom gets grey tiles, the tiler needs 24 square metres by Monday."),
        (28, "Saw a good film."),
        (29, "The electrician moves four sockets in the kitchen before the tiler comes."),
        (31, "The plumber lays the water pipes of the bathroom on the 3rd, 480 in all."),
        (32, "Bought bread."),
        (33, "The kitchen furniture is delivered on the 9th between 8 and 12, somebody must be in."),
    ],
    "zh": [
        (27, "卫生间贴灰色瓷砖，瓦工周一之前要二十四平方米。"),
        (28, "看了部好电影。"),
        (29, "瓦工来之前，电工要在厨房移四个插座。"),
        (31, "水工三号来铺卫生间的水管，一共四百八十块。"),
        (32, "买了面包。"),
        (33, "厨房家具九号上午八点到十二点送货，家里要有人。"),
    ],
}
REQUEST = {"en": "Too many things are piling up, help me organise them.", "zh": "事情太多了，帮我理一理。"}
"""Vague: it names neither."""
CHATTER = frozenset(
    """
Rain again.|Soup for lunch.|Saw a good film.|Bought bread.
又下雨了。|中午喝了汤。|看了部好电影。|买了面包。
""".replace("\n", "|").split("|")
)
