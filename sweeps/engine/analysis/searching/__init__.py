"""What a search has learnt and may still learn: the edge of the space, chance and collapse, certainty, health, replays."""
