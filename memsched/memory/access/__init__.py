"""Who may do what with which cube?"""
