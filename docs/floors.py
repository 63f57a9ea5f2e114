"""Draws docs/floors.svg from import-linter's rules in setup.cfg: `python docs/floors.py`."""

from configparser import ConfigParser
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "floors.svg"
WIDTH, ROW, GAP, TITLE = 205, 26, 14, 34


def rules() -> tuple[list[str], dict[str, list[list[str]]]]:
    """Return the rooms from the top down, and the floors of each, the modules of a floor beside each other."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")

    def layers(contract: str) -> list[str]:
        return config[f"importlinter:contract:{contract}"]["layers"].split("\n")[1:]

    rooms = layers("rooms")
    floors = {room: [line.replace("|", " ").replace(":", " ").split() for line in layers(room)] for room in rooms}
    return rooms, floors


def draw() -> str:
    """Return the picture: a column a room, a box a floor; imports go to the right and down, never back."""
    rooms, floors = rules()
    tallest = max(sum(ROW * len(floor) + 6 for floor in floors[room]) for room in rooms)
    width, height = len(rooms) * (WIDTH + GAP) + GAP, tallest + TITLE + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for column, room in enumerate(rooms):
        left = GAP + column * (WIDTH + GAP)
        arrow = " →" if column + 1 < len(rooms) else ""
        parts.append(f'<text x="{left}" y="22" font-size="17" font-weight="bold">{escape(room)}{arrow}</text>')
        top = TITLE
        for number, floor in enumerate(floors[room]):
            tall, shade = ROW * len(floor), "#dfe8f2" if number % 2 else "#eef3f8"
            parts.append(f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{tall}" rx="4" fill="{shade}"/>')
            for place, module in enumerate(floor):
                line = top + place * ROW + 18
                parts.append(f'<text x="{left + 10}" y="{line}" font-size="14">{escape(module)}</text>')
            top += tall + 6
    parts.append(
        f'<text x="{GAP}" y="{height - 10}" font-size="13">A module imports what lies below it or in a room to the '
        "right; what shares a box stands side by side.</text>"
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
