"""Two runs beside each other: did the fix work?"""
