"""What the voices of the fixed set say. All of it was written for this project."""

from __future__ import annotations

#: English, by what it is about.
ENGLISH: dict[str, str] = {
    "river": (
        "The river rises in the hills and runs for eighty miles before it meets the sea. In the last century a ferry carried people from "
        "one bank to the other, twelve times a day. Then the bridge was built, and the ferry stopped. The old pier is still there. "
        "Children jump from it in summer, and in winter the waves break over it. Every few years somebody wants to pull it down, and "
        "every time the people of the town say no."
    ),
    "bread": (
        "Good bread needs flour, water, salt and time. Mix everything in a large bowl until no dry flour is left, and let the dough rest "
        "for an hour. Fold it a few times, wait, and fold it again. When it has doubled in size, shape it gently and put it in a basket. "
        "Heat the oven with a heavy pot inside. When the pot is hot, drop the dough into it and close the lid. Bake for thirty minutes, "
        "take off the lid, and bake until the crust is dark brown."
    ),
    "library": (
        "The council met on Tuesday evening to talk about the new library. The architect showed a model made of wood and paper. Some "
        "members asked about the price, and others asked about the trees that would have to be cut. A teacher said that the school had "
        "been waiting for ten years. After two hours the chairman called for a vote. Seven were in favour, three were against, and the "
        "work will begin in spring."
    ),
    "engine": (
        "Before you start the engine, check the oil and look under the car for leaks. Turn the key and listen. A healthy engine runs "
        "smoothly within a few seconds, even on a cold morning. If you hear a knocking sound, switch it off and call a mechanic. Do not "
        "drive fast while the engine is still cold. Most of the wear happens in the first five minutes, when the oil has not yet reached "
        "every part."
    ),
    "telescope": (
        "With a small telescope you can see the mountains of the moon, the rings of Saturn and four moons of Jupiter. Find a dark place "
        "away from street lamps, and give your eyes twenty minutes to get used to the night. Start with the lowest power, because it "
        "shows the largest piece of the sky. The stars will drift slowly out of view, since the earth turns under your feet. Keep a "
        "notebook and draw what you see, for drawing teaches the eye to look."
    ),
    "market": (
        "On Saturday the farmers come to the square before sunrise. They sell apples, cheese, honey and fresh eggs. The oldest of them "
        "has had the same place for forty years, next to the fountain. She knows what every customer likes and asks about their "
        "grandchildren. By noon most of the tables are empty. Then the musicians arrive, somebody brings coffee, and nobody is in a "
        "hurry to go home."
    ),
    "garden": (
        "A garden is never finished. In the first year you plant what you like, and half of it dies. In the second year you plant what "
        "grows on your soil, and the neighbours begin to stop at the fence. After five years the hedge is as tall as a man, the birds "
        "have found it, and you spend more time sitting than digging. Water in the early morning, leave the fallen leaves under the "
        "bushes, and do not fight the moss."
    ),
    "harvest": (
        "The harvest was late that year because of the rain. For three weeks the machines stood in the barn while the wheat turned grey. "
        "When the sun finally came, everybody worked until midnight, and the lights of the tractors moved over the fields like ships. "
        "My grandfather sat on the wall and counted the wagons. He had seen worse years, he said, and better ones, but never a year in "
        "which so many people helped each other."
    ),
}

#: To tune by, and those that nothing was tuned by.
TUNED_BY, HELD_OUT = ("river", "bread", "library", "engine"), ("telescope", "market", "garden", "harvest")

#: ISO 639-1 -> what is said.
FOREIGN: dict[str, str] = {
    "es": (
        "El río nace en las montañas y corre durante ochenta kilómetros antes de llegar al mar. En el siglo pasado un barco llevaba a la "
        "gente de una orilla a la otra. Después se construyó el puente y el barco dejó de funcionar. El viejo muelle sigue allí. Los "
        "niños saltan desde él en verano y en invierno las olas lo cubren. Cada pocos años alguien quiere derribarlo, y cada vez la gente "
        "del pueblo dice que no."
    ),
    "de": (
        "Der Fluss entspringt in den Bergen und fließt achtzig Kilometer weit, bevor er das Meer erreicht. Im letzten Jahrhundert trug "
        "eine Fähre die Menschen von einem Ufer zum anderen. Dann wurde die Brücke gebaut, und die Fähre fuhr nicht mehr. Der alte Steg "
        "steht noch da. Im Sommer springen die Kinder von ihm ins Wasser, und im Winter schlagen die Wellen darüber. Alle paar Jahre will "
        "ihn jemand abreißen, und jedes Mal sagen die Leute der Stadt nein."
    ),
    "fr": (
        "La rivière naît dans les collines et coule pendant quatre-vingts kilomètres avant de rejoindre la mer. Au siècle dernier un bac "
        "portait les gens d'une rive à l'autre. Puis le pont fut construit et le bac s'arrêta. Le vieux quai est toujours là. Les enfants "
        "y sautent en été, et en hiver les vagues passent par-dessus. Tous les deux ou trois ans quelqu'un veut le démolir, et chaque "
        "fois les gens de la ville disent non."
    ),
    "it": (
        "Il fiume nasce sulle colline e scorre per ottanta chilometri prima di arrivare al mare. Nel secolo scorso un traghetto portava "
        "la gente da una riva all'altra. Poi fu costruito il ponte e il traghetto si fermò. Il vecchio molo è ancora lì. I bambini "
        "saltano da lì in estate, e d'inverno le onde lo coprono. Ogni pochi anni qualcuno vuole demolirlo, e ogni volta la gente del "
        "paese dice di no."
    ),
    "pt": (
        "O rio nasce nas montanhas e corre durante oitenta quilômetros antes de chegar ao mar. No século passado uma barca levava as "
        "pessoas de uma margem para a outra. Depois construíram a ponte e a barca deixou de andar. O velho cais ainda está lá. As "
        "crianças saltam dele no verão, e no inverno as ondas passam por cima. De vez em quando alguém quer derrubá-lo, e todas as vezes "
        "a gente da cidade diz que não."
    ),
}

#: The same languages, by which nothing was tuned: with those above, the clips of the bars of languages.
FOREIGN_HELD_OUT: dict[str, str] = {
    "es": (
        "Un jardín no se termina nunca. El primer año plantas lo que te gusta y la mitad se muere. El segundo año plantas lo que crece en "
        "tu tierra, y los vecinos empiezan a pararse delante de la verja. A los cinco años el seto es tan alto como un hombre, los pájaros "
        "lo han encontrado, y pasas más tiempo sentado que cavando. Riega por la mañana temprano, deja las hojas caídas debajo de los "
        "arbustos y no luches contra el musgo."
    ),
    "de": (
        "Ein Garten ist nie fertig. Im ersten Jahr pflanzt man, was einem gefällt, und die Hälfte geht ein. Im zweiten Jahr pflanzt man, "
        "was auf dem eigenen Boden wächst, und die Nachbarn bleiben am Zaun stehen. Nach fünf Jahren ist die Hecke so hoch wie ein Mann, "
        "die Vögel haben sie gefunden, und man sitzt länger, als man gräbt. Gießen Sie früh am Morgen, lassen Sie das Laub unter den "
        "Büschen liegen und kämpfen Sie nicht gegen das Moos."
    ),
    "fr": (
        "Un jardin n'est jamais fini. La première année on plante ce qu'on aime, et la moitié meurt. La deuxième année on plante ce qui "
        "pousse dans sa terre, et les voisins commencent à s'arrêter devant la clôture. Après cinq ans la haie est aussi haute qu'un "
        "homme, les oiseaux l'ont trouvée, et l'on passe plus de temps assis qu'à bêcher. Arrosez tôt le matin, laissez les feuilles "
        "mortes sous les buissons, et ne luttez pas contre la mousse."
    ),
    "it": (
        "Un giardino non è mai finito. Il primo anno pianti quello che ti piace, e metà muore. Il secondo anno pianti quello che cresce "
        "nella tua terra, e i vicini cominciano a fermarsi davanti al recinto. Dopo cinque anni la siepe è alta come un uomo, gli uccelli "
        "l'hanno trovata, e passi più tempo seduto che a scavare. Annaffia la mattina presto, lascia le foglie cadute sotto i cespugli e "
        "non combattere il muschio."
    ),
    "pt": (
        "Um jardim nunca está pronto. No primeiro ano plantamos aquilo de que gostamos, e metade morre. No segundo ano plantamos o que "
        "cresce na nossa terra, e os vizinhos começam a parar junto da cerca. Depois de cinco anos a sebe é tão alta como um homem, os "
        "pássaros encontraram-na, e passamos mais tempo sentados do que a cavar. Regue de manhã cedo, deixe as folhas caídas debaixo dos "
        "arbustos e não lute contra o musgo."
    ),
}

#: The first of these texts in languages that are in no bar.
FURTHER: dict[str, str] = {
    "nl": (
        "De rivier ontspringt in de heuvels en stroomt tachtig kilometer voordat zij de zee bereikt. In de vorige eeuw bracht een "
        "veerboot de mensen van de ene oever naar de andere. Toen werd de brug gebouwd en de boot voer niet meer. De oude steiger staat "
        "er nog. In de zomer springen de kinderen ervan af en in de winter slaan de golven eroverheen. Om de paar jaar wil iemand hem "
        "afbreken, en elke keer zeggen de mensen van de stad nee."
    ),
    "pl": (
        "Rzeka wypływa z gór i płynie przez osiemdziesiąt kilometrów, zanim dotrze do morza. W ubiegłym wieku prom przewoził ludzi z "
        "jednego brzegu na drugi. Potem zbudowano most i prom przestał pływać. Stare molo wciąż tam stoi. Latem skaczą z niego dzieci, a "
        "zimą zalewają je fale. Co kilka lat ktoś chce je zburzyć i za każdym razem mieszkańcy miasta mówią nie."
    ),
    "sv": (
        "Floden rinner upp i bergen och flyter åtta mil innan den når havet. Under förra århundradet tog en färja människorna från den "
        "ena stranden till den andra. Sedan byggdes bron och färjan slutade gå. Den gamla bryggan finns kvar. På sommaren hoppar barnen "
        "från den och på vintern slår vågorna över den. Med några års mellanrum vill någon riva den, och varje gång säger folket i staden"
        " nej."
    ),
    "ro": (
        "Râul izvorăște din munți și curge optzeci de kilometri până ajunge la mare. În secolul trecut un bac ducea oamenii de pe un mal "
        "pe celălalt. Apoi s-a construit podul și bacul nu a mai mers. Vechiul debarcader este încă acolo. Vara copiii sar de pe el, iar "
        "iarna valurile trec peste el. La fiecare câțiva ani cineva vrea să îl dărâme, și de fiecare dată oamenii din oraș spun nu."
    ),
    "ca": (
        "El riu neix a les muntanyes i corre durant vuitanta quilòmetres abans d'arribar al mar. El segle passat una barca portava la "
        "gent d'una riba a l'altra. Després es va construir el pont i la barca va deixar d'anar-hi. El vell moll encara hi és. Els nens "
        "hi salten a l'estiu i a l'hivern les onades el cobreixen. De tant en tant algú el vol enderrocar, i cada vegada la gent del "
        "poble diu que no."
    ),
    "tr": (
        "Nehir dağlarda doğar ve denize ulaşmadan önce seksen kilometre akar. Geçen yüzyılda bir vapur insanları bir kıyıdan öbürüne "
        "taşırdı. Sonra köprü yapıldı ve vapur artık çalışmadı. Eski iskele hâlâ orada duruyor. Yazın çocuklar oradan suya atlar, kışın "
        "dalgalar üzerinden geçer. Birkaç yılda bir biri onu yıkmak ister ve her seferinde kasabanın halkı hayır der."
    ),
}

#: Two speak in turns.
DIALOGUE = (
    "Good morning, and welcome to our talk about the harbour and its ships.",
    "Thank you for having me. I have worked on the ferry for eleven years now.",
    "What has changed in that time, and what would you like to see in the future?",
    "There are fewer boats in winter. I would like a second crossing on Sundays.",
    "Many of our listeners ask how you find your way when there is fog.",
    "We slow down, sound the horn every minute, and watch the radar all the time.",
)
