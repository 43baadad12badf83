"""Talks about several things, of paragraphs of our own: where one ends is known. `TUNED` is what the thresholds were set on, `HELD_OUT`
what they were not."""

from __future__ import annotations

TUNED = (
    (
        "The ferry leaves the harbour at six in the morning. Gulls follow it until it has passed the breakwater.",
        "The captain watches the tide and the wind before he casts off. On rough days the crossing takes an hour longer.",
        "Most passengers stay below deck with a cup of tea. The crew ties the cars down with chains.",
        "In winter there is one boat a day. When the lighthouse disappears in fog the horn sounds every minute.",
    ),
    (
        "Bread needs only flour, water, salt and yeast. You mix them and let the dough rest under a cloth.",
        "After an hour you fold it and put it back into the bowl. A slow rise in a cold kitchen gives more taste.",
        "Heat the oven as hot as it will go. Steam keeps the crust soft while the loaf grows.",
        "It is done when it sounds hollow from below. Wait until it has cooled before you cut a slice.",
    ),
    (
        "The telescope was built on a mountain far from any city. Its mirror is eight metres wide.",
        "On clear nights astronomers measure the light of distant galaxies. The oldest of it left before the sun was born.",
        "Clouds of dust hide the stars that are forming now. Infrared cameras look through them.",
        "Each image takes hours, and computers add up hundreds of them. So faint planets beside bright stars appear.",
    ),
    (
        "A good budget begins with what you earn in a month. Write down rent, insurance and every loan.",
        "What is left has to pay for food and clothes. Put a tenth of your income into savings before you spend it.",
        "Credit cards are expensive when you do not pay them in full. The bank charges interest from the first day.",
        "Look at your account once a week. Small payments that you have forgotten add up to large sums.",
    ),
    (
        "The orchestra meets twice a week in the old school. First the violins tune, then the brass.",
        "The conductor has them play the slow movement without the drums. She stops when the cellos come in late.",
        "A symphony has to breathe, she tells the players. The oboe has a solo that nobody must cover.",
        "On the night of the concert every seat is sold. The last chord hangs in the hall before the applause.",
    ),
    (
        "Bees find their way back to the hive by the sun. In the dark of the comb they dance to tell where flowers are.",
        "A queen lays a thousand eggs a day in spring. Workers feed the larvae and clean the cells.",
        "When the colony is too large it swarms. The beekeeper catches the swarm in a box of straw.",
        "Honey is taken in summer, and never all of it. Without enough of it the insects starve in the cold months.",
    ),
)

HELD_OUT = (
    (
        "The mountain hut opens when the snow has melted. Hikers reach it after four hours on a steep path.",
        "Wear boots with a firm sole and carry water. A storm can come over the ridge within minutes.",
        "Marks of red paint on the rocks show the trail. Above the last trees there is only scree and grass.",
        "At the summit there is a wooden cross and a book for names. Start your descent early in the afternoon.",
    ),
    (
        "The new hospital ward has twenty beds. Nurses see every patient once an hour.",
        "Surgeons operate on knees and hips from Monday to Thursday. Pain is treated before it gets strong.",
        "Wounds are kept clean, and fever is reported at once. Doctors read the blood tests each morning.",
        "Most people go home within a week. A physiotherapist shows them exercises for the weeks after.",
    ),
    (
        "The printing press changed how books were made. Before, monks copied each page by hand.",
        "Letters of lead were set into lines and covered with ink. Two men could print hundreds of sheets a day.",
        "Pamphlets spread quickly from town to town. Rulers tried to forbid what they did not like to read.",
        "Old volumes are kept in libraries where the air is dry. Their paper was made of rags and lasts for centuries.",
    ),
    (
        "The football team won its third match in a row. The goalkeeper saved a penalty in the first half.",
        "The striker scored twice after the break. The coach had changed the defence because of an injury.",
        "Supporters sang in the stadium until the referee blew the whistle. Next week they play the champions away.",
        "With two more points the club would lead the league. Tickets for the final are sold out.",
    ),
    (
        "Electric cars store their energy in lithium batteries. Charging at home takes a whole night.",
        "On a motorway a fast charger fills most of the battery in half an hour. Cold weather shortens the range.",
        "The motor has few moving parts and needs no oil. When you brake it turns speed back into current.",
        "Old cells are taken out and used to store power from solar panels. Recycling gives back cobalt and nickel.",
    ),
    (
        "The garden needs most work in spring. Dig the beds and mix compost into the soil.",
        "Sow carrots and peas as soon as the ground is warm. Tomatoes stay behind glass until there is no more frost.",
        "Slugs eat young lettuce at night. Put a board beside the plants and collect them from below it.",
        "Water the roots and not the leaves. In autumn you prune the roses and plant bulbs.",
    ),
)


def talk(topics: tuple[tuple[str, ...], ...], order: tuple[int, ...]) -> tuple[list[dict[str, object]], list[int]]:
    """Segments of ten seconds each, and the sentences with which a new thing begins."""
    paragraphs = [topics[n] for n in order]
    texts = [text for paragraph in paragraphs for text in paragraph]
    counts = [sum(text.count(". ") + 1 for text in paragraph) for paragraph in paragraphs]
    segments: list[dict[str, object]] = [{"start": 10.0 * n, "end": 10.0 * n + 9.5, "text": text} for n, text in enumerate(texts)]
    return segments, [sum(counts[:n]) for n in range(1, len(counts))]
