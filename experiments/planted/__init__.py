"""Does the method find groups that are known beforehand, and does it pay where they matter?"""
