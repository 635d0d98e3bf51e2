"""The published class lists, in label order and spelled as the sets themselves spell them on disk. Facts, no code."""

from __future__ import annotations


def _names(text: str) -> tuple[str, ...]:
    return tuple(" ".join(name.split()) for name in text.split(","))


# ``label_names`` of ``batches.meta``.
CIFAR10 = _names("""
    airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck""")

# ``fine_label_names`` of ``meta``.
CIFAR100 = _names("""
    apple, aquarium_fish, baby, bear, beaver, bed, bee, beetle, bicycle, bottle, bowl, boy, bridge, bus, butterfly,
    camel, can, castle, caterpillar, cattle, chair, chimpanzee, clock, cloud, cockroach, couch, crab, crocodile,
    cup, dinosaur, dolphin, elephant, flatfish, forest, fox, girl, hamster, house, kangaroo, keyboard, lamp,
    lawn_mower, leopard, lion, lizard, lobster, man, maple_tree, motorcycle, mountain, mouse, mushroom, oak_tree,
    orange, orchid, otter, palm_tree, pear, pickup_truck, pine_tree, plain, plate, poppy, porcupine, possum, rabbit,
    raccoon, ray, road, rocket, rose, sea, seal, shark, shrew, skunk, skyscraper, snail, snake, spider, squirrel,
    streetcar, sunflower, sweet_pepper, table, tank, telephone, television, tiger, tractor, train, trout, tulip,
    turtle, wardrobe, whale, willow_tree, wolf, woman, worm""")

# ``class_names.txt``.
STL10 = _names("""
    airplane, bird, car, cat, deer, dog, horse, monkey, ship, truck""")

# ``ClassName.txt``, without the leading letter.
SUN397 = _names("""
    abbey, airplane_cabin, airport_terminal, alley, amphitheater, amusement_arcade, amusement_park,
    anechoic_chamber, apartment_building/outdoor, apse/indoor, aquarium, aqueduct, arch, archive,
    arrival_gate/outdoor, art_gallery, art_school, art_studio, assembly_line, athletic_field/outdoor, atrium/public,
    attic, auditorium, auto_factory, badlands, badminton_court/indoor, baggage_claim, bakery/shop, balcony/exterior,
    balcony/interior, ball_pit, ballroom, bamboo_forest, banquet_hall, bar, barn, barndoor, baseball_field,
    basement, basilica, basketball_court/outdoor, bathroom, batters_box, bayou, bazaar/indoor, bazaar/outdoor,
    beach, beauty_salon, bedroom, berth, biology_laboratory, bistro/indoor, boardwalk, boat_deck, boathouse,
    bookstore, booth/indoor, botanical_garden, bow_window/indoor, bow_window/outdoor, bowling_alley, boxing_ring,
    brewery/indoor, bridge, building_facade, bullring, burial_chamber, bus_interior, butchers_shop, butte,
    cabin/outdoor, cafeteria, campsite, campus, canal/natural, canal/urban, candy_store, canyon,
    car_interior/backseat, car_interior/frontseat, carrousel, casino/indoor, castle, catacomb, cathedral/indoor,
    cathedral/outdoor, cavern/indoor, cemetery, chalet, cheese_factory, chemistry_lab, chicken_coop/indoor,
    chicken_coop/outdoor, childs_room, church/indoor, church/outdoor, classroom, clean_room, cliff, cloister/indoor,
    closet, clothing_store, coast, cockpit, coffee_shop, computer_room, conference_center, conference_room,
    construction_site, control_room, control_tower/outdoor, corn_field, corral, corridor, cottage_garden,
    courthouse, courtroom, courtyard, covered_bridge/exterior, creek, crevasse, crosswalk, cubicle/office, dam,
    delicatessen, dentists_office, desert/sand, desert/vegetation, diner/indoor, diner/outdoor, dinette/home,
    dinette/vehicle, dining_car, dining_room, discotheque, dock, doorway/outdoor, dorm_room, driveway,
    driving_range/outdoor, drugstore, electrical_substation, elevator/door, elevator/interior, elevator_shaft,
    engine_room, escalator/indoor, excavation, factory/indoor, fairway, fastfood_restaurant, field/cultivated,
    field/wild, fire_escape, fire_station, firing_range/indoor, fishpond, florist_shop/indoor, food_court,
    forest/broadleaf, forest/needleleaf, forest_path, forest_road, formal_garden, fountain, galley, game_room,
    garage/indoor, garbage_dump, gas_station, gazebo/exterior, general_store/indoor, general_store/outdoor,
    gift_shop, golf_course, greenhouse/indoor, greenhouse/outdoor, gymnasium/indoor, hangar/indoor, hangar/outdoor,
    harbor, hayfield, heliport, herb_garden, highway, hill, home_office, hospital, hospital_room, hot_spring,
    hot_tub/outdoor, hotel/outdoor, hotel_room, house, hunting_lodge/outdoor, ice_cream_parlor, ice_floe, ice_shelf,
    ice_skating_rink/indoor, ice_skating_rink/outdoor, iceberg, igloo, industrial_area, inn/outdoor, islet,
    jacuzzi/indoor, jail/indoor, jail_cell, jewelry_shop, kasbah, kennel/indoor, kennel/outdoor,
    kindergarden_classroom, kitchen, kitchenette, labyrinth/outdoor, lake/natural, landfill, landing_deck,
    laundromat, lecture_room, library/indoor, library/outdoor, lido_deck/outdoor, lift_bridge, lighthouse,
    limousine_interior, living_room, lobby, lock_chamber, locker_room, mansion, manufactured_home, market/indoor,
    market/outdoor, marsh, martial_arts_gym, mausoleum, medina, moat/water, monastery/outdoor, mosque/indoor,
    mosque/outdoor, motel, mountain, mountain_snowy, movie_theater/indoor, museum/indoor, music_store, music_studio,
    nuclear_power_plant/outdoor, nursery, oast_house, observatory/outdoor, ocean, office, office_building,
    oil_refinery/outdoor, oilrig, operating_room, orchard, outhouse/outdoor, pagoda, palace, pantry, park,
    parking_garage/indoor, parking_garage/outdoor, parking_lot, parlor, pasture, patio, pavilion, pharmacy,
    phone_booth, physics_laboratory, picnic_area, pilothouse/indoor, planetarium/outdoor, playground, playroom,
    plaza, podium/indoor, podium/outdoor, pond, poolroom/establishment, poolroom/home, power_plant/outdoor,
    promenade_deck, pub/indoor, pulpit, putting_green, racecourse, raceway, raft, railroad_track, rainforest,
    reception, recreation_room, residential_neighborhood, restaurant, restaurant_kitchen, restaurant_patio,
    rice_paddy, riding_arena, river, rock_arch, rope_bridge, ruin, runway, sandbar, sandbox, sauna, schoolhouse,
    sea_cliff, server_room, shed, shoe_shop, shopfront, shopping_mall/indoor, shower, skatepark, ski_lodge,
    ski_resort, ski_slope, sky, skyscraper, slum, snowfield, squash_court, stable, stadium/baseball,
    stadium/football, stage/indoor, staircase, street, subway_interior, subway_station/platform, supermarket,
    sushi_bar, swamp, swimming_pool/indoor, swimming_pool/outdoor, synagogue/indoor, synagogue/outdoor,
    television_studio, temple/east_asia, temple/south_asia, tennis_court/indoor, tennis_court/outdoor, tent/outdoor,
    theater/indoor_procenium, theater/indoor_seats, thriftshop, throne_room, ticket_booth, toll_plaza,
    topiary_garden, tower, toyshop, track/outdoor, train_railway, train_station/platform, tree_farm, tree_house,
    trench, underwater/coral_reef, utility_room, valley, van_interior, vegetable_garden, veranda,
    veterinarians_office, viaduct, videostore, village, vineyard, volcano, volleyball_court/indoor,
    volleyball_court/outdoor, waiting_room, warehouse/indoor, water_tower, waterfall/block, waterfall/fan,
    waterfall/plunge, watering_hole, wave, wet_bar, wheat_field, wind_farm, windmill, wine_cellar/barrel_storage,
    wine_cellar/bottle_storage, wrestling_ring/indoor, yard, youth_hostel""")

# ``meta/classes.txt``.
FOOD101 = _names("""
    apple_pie, baby_back_ribs, baklava, beef_carpaccio, beef_tartare, beet_salad, beignets, bibimbap, bread_pudding,
    breakfast_burrito, bruschetta, caesar_salad, cannoli, caprese_salad, carrot_cake, ceviche, cheese_plate,
    cheesecake, chicken_curry, chicken_quesadilla, chicken_wings, chocolate_cake, chocolate_mousse, churros,
    clam_chowder, club_sandwich, crab_cakes, creme_brulee, croque_madame, cup_cakes, deviled_eggs, donuts,
    dumplings, edamame, eggs_benedict, escargots, falafel, filet_mignon, fish_and_chips, foie_gras, french_fries,
    french_onion_soup, french_toast, fried_calamari, fried_rice, frozen_yogurt, garlic_bread, gnocchi, greek_salad,
    grilled_cheese_sandwich, grilled_salmon, guacamole, gyoza, hamburger, hot_and_sour_soup, hot_dog,
    huevos_rancheros, hummus, ice_cream, lasagna, lobster_bisque, lobster_roll_sandwich, macaroni_and_cheese,
    macarons, miso_soup, mussels, nachos, omelette, onion_rings, oysters, pad_thai, paella, pancakes, panna_cotta,
    peking_duck, pho, pizza, pork_chop, poutine, prime_rib, pulled_pork_sandwich, ramen, ravioli, red_velvet_cake,
    risotto, samosa, sashimi, scallops, seaweed_salad, shrimp_and_grits, spaghetti_bolognese, spaghetti_carbonara,
    spring_rolls, steak, strawberry_shortcake, sushi, tacos, takoyaki, tiramisu, tuna_tartare, waffles""")

# The image names of ``annotations/list.txt`` without their number, by class id.
OXFORD_PETS = _names("""
    Abyssinian, american_bulldog, american_pit_bull_terrier, basset_hound, beagle, Bengal, Birman, Bombay, boxer,
    British_Shorthair, chihuahua, Egyptian_Mau, english_cocker_spaniel, english_setter, german_shorthaired,
    great_pyrenees, havanese, japanese_chin, keeshond, leonberger, Maine_Coon, miniature_pinscher, newfoundland,
    Persian, pomeranian, pug, Ragdoll, Russian_Blue, saint_bernard, samoyed, scottish_terrier, shiba_inu, Siamese,
    Sphynx, staffordshire_bull_terrier, wheaten_terrier, yorkshire_terrier""")

# The set itself has numbers only; these are the names that torchvision and OpenAI's CLIP give them.
FLOWERS102 = _names("""
    pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold, tiger lily, moon
    orchid, bird of paradise, monkshood, globe thistle, snapdragon, colt's foot, king protea, spear thistle, yellow
    iris, globe-flower, purple coneflower, peruvian lily, balloon flower, giant white arum lily, fire lily,
    pincushion flower, fritillary, red ginger, grape hyacinth, corn poppy, prince of wales feathers, stemless
    gentian, artichoke, sweet william, carnation, garden phlox, love in the mist, mexican aster, alpine sea holly,
    ruby-lipped cattleya, cape flower, great masterwort, siam tulip, lenten rose, barbeton daisy, daffodil, sword
    lily, poinsettia, bolero deep blue, wallflower, marigold, buttercup, oxeye daisy, common dandelion, petunia,
    wild pansy, primula, sunflower, pelargonium, bishop of llandaff, gaura, geranium, orange dahlia, pink-yellow
    dahlia?, cautleya spicata, japanese anemone, black-eyed susan, silverbush, californian poppy, osteospermum,
    spring crocus, bearded iris, windflower, tree poppy, gazania, azalea, water lily, rose, thorn apple, morning
    glory, passion flower, lotus, toad lily, anthurium, frangipani, clematis, hibiscus, columbine, desert-rose, tree
    mallow, magnolia, cyclamen, watercress, canna lily, hippeastrum, bee balm, ball moss, foxglove, bougainvillea,
    camellia, mallow, mexican petunia, bromelia, blanket flower, trumpet creeper, blackberry lily""")

# Folders of ``images``.
DTD = _names("""
    banded, blotchy, braided, bubbly, bumpy, chequered, cobwebbed, cracked, crosshatched, crystalline, dotted,
    fibrous, flecked, freckled, frilly, gauzy, grid, grooved, honeycombed, interlaced, knitted, lacelike, lined,
    marbled, matted, meshed, paisley, perforated, pitted, pleated, polka-dotted, porous, potholed, scaly, smeared,
    spiralled, sprinkled, stained, stratified, striped, studded, swirly, veined, waffled, woven, wrinkled, zigzagged""")

# Folders.
EUROSAT = _names("""
    AnnualCrop, Forest, HerbaceousVegetation, Highway, Industrial, Pasture, PermanentCrop, Residential, River,
    SeaLake""")

# ``variants.txt``.
FGVC_AIRCRAFT = _names("""
    707-320, 727-200, 737-200, 737-300, 737-400, 737-500, 737-600, 737-700, 737-800, 737-900, 747-100, 747-200,
    747-300, 747-400, 757-200, 757-300, 767-200, 767-300, 767-400, 777-200, 777-300, A300B4, A310, A318, A319, A320,
    A321, A330-200, A330-300, A340-200, A340-300, A340-500, A340-600, A380, ATR-42, ATR-72, An-12, BAE 146-200, BAE
    146-300, BAE-125, Beechcraft 1900, Boeing 717, C-130, C-47, CRJ-200, CRJ-700, CRJ-900, Cessna 172, Cessna 208,
    Cessna 525, Cessna 560, Challenger 600, DC-10, DC-3, DC-6, DC-8, DC-9-30, DH-82, DHC-1, DHC-6, DHC-8-100,
    DHC-8-300, DR-400, Dornier 328, E-170, E-190, E-195, EMB-120, ERJ 135, ERJ 145, Embraer Legacy 600, Eurofighter
    Typhoon, F-16A/B, F/A-18, Falcon 2000, Falcon 900, Fokker 100, Fokker 50, Fokker 70, Global Express, Gulfstream
    IV, Gulfstream V, Hawk T1, Il-76, L-1011, MD-11, MD-80, MD-87, MD-90, Metroliner, Model B200, PA-28, SR-20, Saab
    2000, Saab 340, Spitfire, Tornado, Tu-134, Tu-154, Yak-42""")

# Folders of ``101_ObjectCategories`` but ``BACKGROUND_Google``.
CALTECH101 = _names("""
    Faces, Faces_easy, Leopards, Motorbikes, accordion, airplanes, anchor, ant, barrel, bass, beaver, binocular,
    bonsai, brain, brontosaurus, buddha, butterfly, camera, cannon, car_side, ceiling_fan, cellphone, chair,
    chandelier, cougar_body, cougar_face, crab, crayfish, crocodile, crocodile_head, cup, dalmatian, dollar_bill,
    dolphin, dragonfly, electric_guitar, elephant, emu, euphonium, ewer, ferry, flamingo, flamingo_head, garfield,
    gerenuk, gramophone, grand_piano, hawksbill, headphone, hedgehog, helicopter, ibis, inline_skate, joshua_tree,
    kangaroo, ketch, lamp, laptop, llama, lobster, lotus, mandolin, mayfly, menorah, metronome, minaret, nautilus,
    octopus, okapi, pagoda, panda, pigeon, pizza, platypus, pyramid, revolver, rhino, rooster, saxophone, schooner,
    scissors, scorpion, sea_horse, snoopy, soccer_ball, stapler, starfish, stegosaurus, stop_sign, strawberry,
    sunflower, tick, trilobite, umbrella, watch, water_lilly, wheelchair, wild_cat, windsor_chair, wrench, yin_yang""")

# The same classes as OpenAI says them (openai/CLIP, ``data/prompts.md``).
CALTECH101_OPENAI = _names("""
    off-center face, centered face, leopard, motorbike, accordion, airplane, anchor, ant, barrel, bass, beaver,
    binocular, bonsai, brain, brontosaurus, buddha, butterfly, camera, cannon, side of a car, ceiling fan,
    cellphone, chair, chandelier, body of a cougar cat, face of a cougar cat, crab, crayfish, crocodile, head of a
    crocodile, cup, dalmatian, dollar bill, dolphin, dragonfly, electric guitar, elephant, emu, euphonium, ewer,
    ferry, flamingo, head of a flamingo, garfield, gerenuk, gramophone, grand piano, hawksbill, headphone, hedgehog,
    helicopter, ibis, inline skate, joshua tree, kangaroo, ketch, lamp, laptop, llama, lobster, lotus, mandolin,
    mayfly, menorah, metronome, minaret, nautilus, octopus, okapi, pagoda, panda, pigeon, pizza, platypus, pyramid,
    revolver, rhino, rooster, saxophone, schooner, scissors, scorpion, sea horse, snoopy (cartoon beagle), soccer
    ball, stapler, starfish, stegosaurus, stop sign, strawberry, sunflower, tick, trilobite, umbrella, watch, water
    lilly, wheelchair, wild cat, windsor chair, wrench, yin and yang symbol""")

# Folders of ``256_ObjectCategories``; each has its number in front, from 001.
CALTECH256 = _names("""
    ak47, american-flag, backpack, baseball-bat, baseball-glove, basketball-hoop, bat, bathtub, bear, beer-mug,
    billiards, binoculars, birdbath, blimp, bonsai-101, boom-box, bowling-ball, bowling-pin, boxing-glove,
    brain-101, breadmaker, buddha-101, bulldozer, butterfly, cactus, cake, calculator, camel, cannon, canoe,
    car-tire, cartman, cd, centipede, cereal-box, chandelier-101, chess-board, chimp, chopsticks, cockroach,
    coffee-mug, coffin, coin, comet, computer-keyboard, computer-monitor, computer-mouse, conch, cormorant,
    covered-wagon, cowboy-hat, crab-101, desk-globe, diamond-ring, dice, dog, dolphin-101, doorknob, drinking-straw,
    duck, dumb-bell, eiffel-tower, electric-guitar-101, elephant-101, elk, ewer-101, eyeglasses, fern, fighter-jet,
    fire-extinguisher, fire-hydrant, fire-truck, fireworks, flashlight, floppy-disk, football-helmet, french-horn,
    fried-egg, frisbee, frog, frying-pan, galaxy, gas-pump, giraffe, goat, golden-gate-bridge, goldfish, golf-ball,
    goose, gorilla, grand-piano-101, grapes, grasshopper, guitar-pick, hamburger, hammock, harmonica, harp,
    harpsichord, hawksbill-101, head-phones, helicopter-101, hibiscus, homer-simpson, horse, horseshoe-crab,
    hot-air-balloon, hot-dog, hot-tub, hourglass, house-fly, human-skeleton, hummingbird, ibis-101, ice-cream-cone,
    iguana, ipod, iris, jesus-christ, joy-stick, kangaroo-101, kayak, ketch-101, killer-whale, knife, ladder,
    laptop-101, lathe, leopards-101, license-plate, lightbulb, light-house, lightning, llama-101, mailbox, mandolin,
    mars, mattress, megaphone, menorah-101, microscope, microwave, minaret, minotaur, motorbikes-101, mountain-bike,
    mushroom, mussels, necktie, octopus, ostrich, owl, palm-pilot, palm-tree, paperclip, paper-shredder, pci-card,
    penguin, people, pez-dispenser, photocopier, picnic-table, playing-card, porcupine, pram, praying-mantis,
    pyramid, raccoon, radio-telescope, rainbow, refrigerator, revolver-101, rifle, rotary-phone, roulette-wheel,
    saddle, saturn, school-bus, scorpion-101, screwdriver, segway, self-propelled-lawn-mower, sextant, sheet-music,
    skateboard, skunk, skyscraper, smokestack, snail, snake, sneaker, snowmobile, soccer-ball, socks, soda-can,
    spaghetti, speed-boat, spider, spoon, stained-glass, starfish-101, steering-wheel, stirrups, sunflower-101,
    superman, sushi, swan, swiss-army-knife, sword, syringe, tambourine, teapot, teddy-bear, teepee, telephone-box,
    tennis-ball, tennis-court, tennis-racket, theodolite, toaster, tomato, tombstone, top-hat, touring-bike,
    tower-pisa, traffic-light, treadmill, triceratops, tricycle, trilobite-101, tripod, t-shirt, tuning-fork,
    tweezer, umbrella-101, unicorn, vcr, video-projector, washing-machine, watch-101, waterfall, watermelon,
    welding-mask, wheelbarrow, windmill, wine-bottle, xylophone, yarmulke, yo-yo, zebra, airplanes-101,
    car-side-101, faces-easy-101, greyhound, tennis-shoes, toad, clutter""")

# ``class_names`` of ``cars_meta.mat``.
STANFORD_CARS = _names("""
    AM General Hummer SUV 2000, Acura RL Sedan 2012, Acura TL Sedan 2012, Acura TL Type-S 2008, Acura TSX Sedan
    2012, Acura Integra Type R 2001, Acura ZDX Hatchback 2012, Aston Martin V8 Vantage Convertible 2012, Aston
    Martin V8 Vantage Coupe 2012, Aston Martin Virage Convertible 2012, Aston Martin Virage Coupe 2012, Audi RS 4
    Convertible 2008, Audi A5 Coupe 2012, Audi TTS Coupe 2012, Audi R8 Coupe 2012, Audi V8 Sedan 1994, Audi 100
    Sedan 1994, Audi 100 Wagon 1994, Audi TT Hatchback 2011, Audi S6 Sedan 2011, Audi S5 Convertible 2012, Audi S5
    Coupe 2012, Audi S4 Sedan 2012, Audi S4 Sedan 2007, Audi TT RS Coupe 2012, BMW ActiveHybrid 5 Sedan 2012, BMW 1
    Series Convertible 2012, BMW 1 Series Coupe 2012, BMW 3 Series Sedan 2012, BMW 3 Series Wagon 2012, BMW 6 Series
    Convertible 2007, BMW X5 SUV 2007, BMW X6 SUV 2012, BMW M3 Coupe 2012, BMW M5 Sedan 2010, BMW M6 Convertible
    2010, BMW X3 SUV 2012, BMW Z4 Convertible 2012, Bentley Continental Supersports Conv. Convertible 2012, Bentley
    Arnage Sedan 2009, Bentley Mulsanne Sedan 2011, Bentley Continental GT Coupe 2012, Bentley Continental GT Coupe
    2007, Bentley Continental Flying Spur Sedan 2007, Bugatti Veyron 16.4 Convertible 2009, Bugatti Veyron 16.4
    Coupe 2009, Buick Regal GS 2012, Buick Rainier SUV 2007, Buick Verano Sedan 2012, Buick Enclave SUV 2012,
    Cadillac CTS-V Sedan 2012, Cadillac SRX SUV 2012, Cadillac Escalade EXT Crew Cab 2007, Chevrolet Silverado 1500
    Hybrid Crew Cab 2012, Chevrolet Corvette Convertible 2012, Chevrolet Corvette ZR1 2012, Chevrolet Corvette Ron
    Fellows Edition Z06 2007, Chevrolet Traverse SUV 2012, Chevrolet Camaro Convertible 2012, Chevrolet HHR SS 2010,
    Chevrolet Impala Sedan 2007, Chevrolet Tahoe Hybrid SUV 2012, Chevrolet Sonic Sedan 2012, Chevrolet Express
    Cargo Van 2007, Chevrolet Avalanche Crew Cab 2012, Chevrolet Cobalt SS 2010, Chevrolet Malibu Hybrid Sedan 2010,
    Chevrolet TrailBlazer SS 2009, Chevrolet Silverado 2500HD Regular Cab 2012, Chevrolet Silverado 1500 Classic
    Extended Cab 2007, Chevrolet Express Van 2007, Chevrolet Monte Carlo Coupe 2007, Chevrolet Malibu Sedan 2007,
    Chevrolet Silverado 1500 Extended Cab 2012, Chevrolet Silverado 1500 Regular Cab 2012, Chrysler Aspen SUV 2009,
    Chrysler Sebring Convertible 2010, Chrysler Town and Country Minivan 2012, Chrysler 300 SRT-8 2010, Chrysler
    Crossfire Convertible 2008, Chrysler PT Cruiser Convertible 2008, Daewoo Nubira Wagon 2002, Dodge Caliber Wagon
    2012, Dodge Caliber Wagon 2007, Dodge Caravan Minivan 1997, Dodge Ram Pickup 3500 Crew Cab 2010, Dodge Ram
    Pickup 3500 Quad Cab 2009, Dodge Sprinter Cargo Van 2009, Dodge Journey SUV 2012, Dodge Dakota Crew Cab 2010,
    Dodge Dakota Club Cab 2007, Dodge Magnum Wagon 2008, Dodge Challenger SRT8 2011, Dodge Durango SUV 2012, Dodge
    Durango SUV 2007, Dodge Charger Sedan 2012, Dodge Charger SRT-8 2009, Eagle Talon Hatchback 1998, FIAT 500
    Abarth 2012, FIAT 500 Convertible 2012, Ferrari FF Coupe 2012, Ferrari California Convertible 2012, Ferrari 458
    Italia Convertible 2012, Ferrari 458 Italia Coupe 2012, Fisker Karma Sedan 2012, Ford F-450 Super Duty Crew Cab
    2012, Ford Mustang Convertible 2007, Ford Freestar Minivan 2007, Ford Expedition EL SUV 2009, Ford Edge SUV
    2012, Ford Ranger SuperCab 2011, Ford GT Coupe 2006, Ford F-150 Regular Cab 2012, Ford F-150 Regular Cab 2007,
    Ford Focus Sedan 2007, Ford E-Series Wagon Van 2012, Ford Fiesta Sedan 2012, GMC Terrain SUV 2012, GMC Savana
    Van 2012, GMC Yukon Hybrid SUV 2012, GMC Acadia SUV 2012, GMC Canyon Extended Cab 2012, Geo Metro Convertible
    1993, HUMMER H3T Crew Cab 2010, HUMMER H2 SUT Crew Cab 2009, Honda Odyssey Minivan 2012, Honda Odyssey Minivan
    2007, Honda Accord Coupe 2012, Honda Accord Sedan 2012, Hyundai Veloster Hatchback 2012, Hyundai Santa Fe SUV
    2012, Hyundai Tucson SUV 2012, Hyundai Veracruz SUV 2012, Hyundai Sonata Hybrid Sedan 2012, Hyundai Elantra
    Sedan 2007, Hyundai Accent Sedan 2012, Hyundai Genesis Sedan 2012, Hyundai Sonata Sedan 2012, Hyundai Elantra
    Touring Hatchback 2012, Hyundai Azera Sedan 2012, Infiniti G Coupe IPL 2012, Infiniti QX56 SUV 2011, Isuzu
    Ascender SUV 2008, Jaguar XK XKR 2012, Jeep Patriot SUV 2012, Jeep Wrangler SUV 2012, Jeep Liberty SUV 2012,
    Jeep Grand Cherokee SUV 2012, Jeep Compass SUV 2012, Lamborghini Reventon Coupe 2008, Lamborghini Aventador
    Coupe 2012, Lamborghini Gallardo LP 570-4 Superleggera 2012, Lamborghini Diablo Coupe 2001, Land Rover Range
    Rover SUV 2012, Land Rover LR2 SUV 2012, Lincoln Town Car Sedan 2011, MINI Cooper Roadster Convertible 2012,
    Maybach Landaulet Convertible 2012, Mazda Tribute SUV 2011, McLaren MP4-12C Coupe 2012, Mercedes-Benz 300-Class
    Convertible 1993, Mercedes-Benz C-Class Sedan 2012, Mercedes-Benz SL-Class Coupe 2009, Mercedes-Benz E-Class
    Sedan 2012, Mercedes-Benz S-Class Sedan 2012, Mercedes-Benz Sprinter Van 2012, Mitsubishi Lancer Sedan 2012,
    Nissan Leaf Hatchback 2012, Nissan NV Passenger Van 2012, Nissan Juke Hatchback 2012, Nissan 240SX Coupe 1998,
    Plymouth Neon Coupe 1999, Porsche Panamera Sedan 2012, Ram C/V Cargo Van Minivan 2012, Rolls-Royce Phantom
    Drophead Coupe Convertible 2012, Rolls-Royce Ghost Sedan 2012, Rolls-Royce Phantom Sedan 2012, Scion xD
    Hatchback 2012, Spyker C8 Convertible 2009, Spyker C8 Coupe 2009, Suzuki Aerio Sedan 2007, Suzuki Kizashi Sedan
    2012, Suzuki SX4 Hatchback 2012, Suzuki SX4 Sedan 2012, Tesla Model S Sedan 2012, Toyota Sequoia SUV 2012,
    Toyota Camry Sedan 2012, Toyota Corolla Sedan 2012, Toyota 4Runner SUV 2012, Volkswagen Golf Hatchback 2012,
    Volkswagen Golf Hatchback 1991, Volkswagen Beetle Hatchback 2012, Volvo C30 Hatchback 2012, Volvo 240 Sedan
    1993, Volvo XC90 SUV 2007, smart fortwo Convertible 2012""")

# ``wnids.txt``, sorted: the order of the class folders.
TINY_IMAGENET = _names("""
    n01443537, n01629819, n01641577, n01644900, n01698640, n01742172, n01768244, n01770393, n01774384, n01774750,
    n01784675, n01855672, n01882714, n01910747, n01917289, n01944390, n01945685, n01950731, n01983481, n01984695,
    n02002724, n02056570, n02058221, n02074367, n02085620, n02094433, n02099601, n02099712, n02106662, n02113799,
    n02123045, n02123394, n02124075, n02125311, n02129165, n02132136, n02165456, n02190166, n02206856, n02226429,
    n02231487, n02233338, n02236044, n02268443, n02279972, n02281406, n02321529, n02364673, n02395406, n02403003,
    n02410509, n02415577, n02423022, n02437312, n02480495, n02481823, n02486410, n02504458, n02509815, n02666196,
    n02669723, n02699494, n02730930, n02769748, n02788148, n02791270, n02793495, n02795169, n02802426, n02808440,
    n02814533, n02814860, n02815834, n02823428, n02837789, n02841315, n02843684, n02883205, n02892201, n02906734,
    n02909870, n02917067, n02927161, n02948072, n02950826, n02963159, n02977058, n02988304, n02999410, n03014705,
    n03026506, n03042490, n03085013, n03089624, n03100240, n03126707, n03160309, n03179701, n03201208, n03250847,
    n03255030, n03355925, n03388043, n03393912, n03400231, n03404251, n03424325, n03444034, n03447447, n03544143,
    n03584254, n03599486, n03617480, n03637318, n03649909, n03662601, n03670208, n03706229, n03733131, n03763968,
    n03770439, n03796401, n03804744, n03814639, n03837869, n03838899, n03854065, n03891332, n03902125, n03930313,
    n03937543, n03970156, n03976657, n03977966, n03980874, n03983396, n03992509, n04008634, n04023962, n04067472,
    n04070727, n04074963, n04099969, n04118538, n04133789, n04146614, n04149813, n04179913, n04251144, n04254777,
    n04259630, n04265275, n04275548, n04285008, n04311004, n04328186, n04356056, n04366367, n04371430, n04376876,
    n04398044, n04399382, n04417672, n04456115, n04465501, n04486054, n04487081, n04501370, n04507155, n04532106,
    n04532670, n04540053, n04560804, n04562935, n04596742, n04597913, n06596364, n07579787, n07583066, n07614500,
    n07615774, n07695742, n07711569, n07715103, n07720875, n07734744, n07747607, n07749582, n07753592, n07768694,
    n07871810, n07873807, n07875152, n07920052, n09193705, n09246464, n09256479, n09332890, n09428293, n12267677""")
